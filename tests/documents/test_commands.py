"""Commands and code in README and docs: verbs, options, modules and syntax exist."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from opkit.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
    )
    if "slurm" not in path.parts
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"(?:^|\n\n)((?:    [^\n]*\n)+)")
PLACEHOLDER = re.compile(r"\[[^\]]*\]|\.\.\.|…|[<>]")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of the code of a page."""
    text = page.read_text("utf-8")
    for language, code in FENCE.findall(text):
        yield language, code
    for code in INDENTED.findall(FENCE.sub("", text)):
        yield "", code


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each call of opkit in a page, without pipes and comments."""
    for language, code in blocks(page):
        if language in ("python", "yaml", "cpp", "toml", "json"):
            continue
        for line in code.replace("\\\n", " ").splitlines():
            line = PLACEHOLDER.split(line.strip())[0]
            for part in re.split(r"\|\||&&|[|;]", line):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:
                    continue  # a quote cut off by a placeholder
                if words[:1] == ["opkit"] and len(words) > 1:
                    yield words[1:]


def unknown(words: list[str]) -> str:
    """Say what of a command line is no verb or option; empty if all are."""
    command: Any = get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no verb {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    options = {name for each in command.params for name in each.opts} | {"--help"}
    options |= {name for each in command.params for name in each.secondary_opts}
    options |= {"--debug", "--json"}
    for word in words:
        if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options:
            return f"no option {word}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_verb_and_option_exists(page: Path) -> None:
    wrong = [(" ".join(words), unknown(words)) for words in commands(page)]
    assert [pair for pair in wrong if pair[1]] == []


def test_a_wrong_option_would_be_noticed() -> None:
    assert unknown(["train", "x.h5", "--epochs", "3"]) == "no option --epochs"
    assert unknown(["trian", "x.h5"]) == "no verb trian"
    assert unknown(["generate", "case", "darcy", "--out", "d.h5"]) == ""
    assert len([words for page in PAGES for words in commands(page)]) > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_python_parses(page: Path) -> None:
    for language, code in blocks(page):
        if language == "python":
            ast.parse(code)


def test_every_module_that_is_run_exists() -> None:
    called = {
        (page.name, module)
        for page in PAGES
        for module in re.findall(r"python -m ([a-z_.]+\w)", page.read_text("utf-8"))
        if module != "pip"  # environments that uv makes have none
    }
    assert len(called) > 20
    assert [each for each in sorted(called) if find_spec(each[1]) is None] == []
    files = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(
            r"(?:python|sh) ((?:benchmarks|examples|docs)/[\w/]+\.(?:py|sh))",
            page.read_text("utf-8"),
        )
    }
    assert [each for each in sorted(files) if not (ROOT / each[1]).exists()] == []


def test_every_extra_that_is_named_exists() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = set(config["project"]["optional-dependencies"])
    install = (ROOT / "docs/start/install.md").read_text("utf-8")
    named = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", install, re.M)))
    )
    assert named
    assert named - extras == set()
