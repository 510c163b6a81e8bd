"""The hooks of pre-commit are the linters of `make lint`; ends of files, sizes."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / ".ci" / "check-files"


def commands_of_lint() -> set[str]:
    """Commands of the target ``lint`` of the Makefile, without flags and paths."""
    _, _, rest = (ROOT / "Makefile").read_text().partition("\nlint:")
    recipe, _, _ = rest.partition("\n\n")
    lines = [line.strip() for line in recipe.split("\n")[1:]]
    return {bare(line.replace("$(BIN)", ".venv/bin")) for line in lines}


def bare(command: str) -> str:
    return " ".join(w for w in command.split() if w != "." and not w.startswith("-"))


def hooks() -> list[dict[str, object]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    return config["repos"][0]["hooks"]


def test_hooks_are_the_linters_of_make() -> None:
    assert {bare(str(hook["entry"])) for hook in hooks()} == commands_of_lint()


def test_hooks_need_nothing_from_elsewhere() -> None:
    for hook in hooks():
        assert hook["language"] == "system"
        assert "additional_dependencies" not in hook
    whole = {h["id"] for h in hooks() if h.get("pass_filenames") is False}
    assert whole == {"mypy", "import-linter"}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.py", b"x = 1\n", ""),
        ("a.py", b"", ""),
        ("a.py", b"x = 1", "end it with one line break"),
        ("a.py", b"x = 1\n\n", "end it with one line break"),
        ("a.yaml", b"x: 1 \n", "remove spaces"),
        pytest.param(
            "a.h5", b"\0" * 300_001, "300001 bytes, more than 300000", id="large"
        ),
        ("a.h5", b"\0\1", ""),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    command = [sys.executable, str(FILES), name]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == bool(fault)
    assert (fault or "1 files end as they should") in answer.stdout
