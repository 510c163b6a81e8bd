"""The code of README and docs runs: blocks of Python and commands, at small size.

`executed.toml` says for each page what it needs and what is marked as not run, and why.
Tutorials are run by test_tutorials.py.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opkit import zoo

ROOT = Path(__file__).parents[2]
PLAN: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).with_name("executed.toml")).read_text("utf-8")
)
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
    )
    if not {"slurm", "tutorials"} & set(path.parts)
)
CODE = re.compile(
    r"^```(\w*)\n(.*?)^```|(?:(?<=\n\n)|\A)((?:    [^\n]*\n(?:\n(?=    ))?)+)",
    re.M | re.S,
)
PROGRAMS = {
    "cmake", "g++", "make", "opkit", "pre-commit", "pytest", "python", "sh", "bash",
    "snakemake", "torchrun", ".venv/bin/python", "build/cpp/predict", ".", "docker",
}  # fmt: skip


def pieces(page: str, text: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield ``python`` and a block, or ``command`` and a command, in their order."""
    text = (ROOT / page).read_text("utf-8") if text is None else text
    for language, fenced, indented in CODE.findall(text):
        if language == "python":
            yield "python", fenced
        elif language in ("", "bash", "sh"):
            lines = re.sub(r"\\\n\s*", "", fenced or indented).splitlines()
            transcript = any(line.startswith("$ ") for line in lines)
            for line in map(str.strip, lines):
                if transcript and not line.startswith("$ "):
                    continue
                line = line.removeprefix("$ ")
                words = [w for w in line.split() if not re.match(r"[A-Z_]+=", w)]
                if line.startswith("T=$(") or (words and words[0] in PROGRAMS):
                    yield "command", line


def sorted_out(page: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the pieces of a page that run, and those that do not with the reason."""
    marked = PLAN.get(page, {}).get("marked", {})
    runs, stays = [], []
    for kind, code in pieces(page):
        reasons = [why for key, why in marked.items() if key in code]
        if reasons:
            stays.append((code, reasons[0]))
        else:
            runs.append((kind, code))
    return runs, stays


def small(page: str, code: str) -> str:
    for full, tiny in PLAN.get(page, {}).get("small", {}).items():
        code = (code + "\n").replace(full, tiny)[: None if "\n" in full else -1]
    return code


RUNNING = [page for page in PAGES if sorted_out(page)[0]]


def test_every_plan_is_of_a_page_and_every_text_of_it_stands_there() -> None:
    assert set(PLAN) - set(PAGES) == set()
    for page, plan in PLAN.items():
        codes = [code + "\n" for _, code in pieces(page)]
        for key in (*plan.get("marked", {}), *plan.get("small", {})):
            assert any(key in code for code in codes), (page, key)


def test_most_of_the_code_is_run() -> None:
    """``pytest -s`` shows the counts."""
    runs = [piece for page in PAGES for piece in sorted_out(page)[0]]
    stays = [piece for page in PAGES for piece in sorted_out(page)[1]]
    blocks = sum(kind == "python" for kind, _ in runs)
    print(
        f"{len(runs) - blocks} commands and {blocks} blocks of Python run, "
        f"{len(stays)} commands and blocks are marked as not run"
    )
    assert blocks >= 17 and len(runs) - blocks >= 50


def test_pieces_are_told_apart() -> None:
    text = "a\n\n    opkit cases \\\n        --json   # all\n    x = y\n\nb\n\n"
    text += "```\n$ opkit doctor\nopkit 1.0\n```\n\n```python\nx\n```\n"
    assert list(pieces("", text)) == [
        ("command", "opkit cases --json   # all"),
        ("command", "opkit doctor"),
        ("python", "x\n"),
    ]


def shell(command: str, folder: Path) -> None:
    """Run a command as a terminal would.

    Raises:
        AssertionError: it ends with another exit code than 0.
    """
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data and runs that pages begin with."""
    from opkit.datasets.read import DataFile

    folder = tmp_path_factory.mktemp("shelf")
    shutil.copytree(zoo.FOLDER / "channel-bumps", folder / "zoo")
    data = {name: shlex.quote(str(folder / f"{name}.h5")) for name in ("darcy", "flow")}
    generate = "opkit generate case"
    shell(
        f"{generate} darcy --resolution 43 --samples 60 --out {data['darcy']}\n"
        f"opkit train {data['darcy']} --operator fno --set subsample=1 "
        "--set training.epochs=3 --set model.hidden_channels=8 --out darcy\n"
        f"{generate} channel-bumps --samples 60 --out {data['flow']}\n"
        f"opkit train {data['flow']} --operator pod-gp --out channel\n",
        folder,
    )
    with DataFile(folder / "darcy.h5") as file:
        fields = file.read_samples(["permeability", "pressure"], np.arange(8))
    arrays = {"a": fields["permeability"], "u": fields["pressure"]}
    np.savez(folder / "arrays.npz", **arrays)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("page", RUNNING)
def test_it_runs(
    page: str, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("dolfinx") is None or find_spec("onnx") is None:
        pytest.skip("FEniCSx or ONNX is not installed")
    plan = PLAN.get(page, {})
    for target, source in plan.get("take", {}).items():
        place = tmp_path / target
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (shelf / source).is_dir() else shutil.copy
        copy(shelf / source, place)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    exec(plan.get("python", ""), names)
    for kind, code in sorted_out(page)[0]:
        if kind == "python":
            exec(compile(small(page, code), page, "exec"), names)
        else:
            shell(small(page, code), tmp_path)
