"""What a release carries: one version, its requirements, a wheel and an sdist."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["version"]
    recipe = (ROOT / "conda/meta.yaml").read_text("utf-8")
    assert re.findall(r'set version = "(.*)"', recipe) == [PROJECT["version"]]


def test_the_conda_recipe_asks_for_the_same_versions() -> None:
    recipe = (ROOT / "conda/meta.yaml").read_text("utf-8")
    run = recipe[recipe.index("  run:") : recipe.index("\ntest:")]
    asked = dict(re.findall(r"- ([\w.-]+) >=(\S+)", run))
    assert asked.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    ours = dict(line.split(">=") for line in PROJECT["dependencies"])
    ours["pytorch"] = ours.pop("torch")
    assert asked == ours


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_they_should(tmp_path: Path) -> None:
    for kind in ("wheel", "sdist"):
        call = f"build_{kind}(r'{tmp_path}')"
        code = f"from setuptools import build_meta; build_meta.{call}"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "opkit/py.typed",
        "opkit/cases/darcy.yaml",
        "opkit/datasets/SPEC.md",
        "opkit/hypino/hypino-tiny.safetensors",
        "opkit/report/page.html",
        "opkit/solvers/darcy/solver.py",
        "opkit/templates/project/solver.py.template",
        "opkit/zoo/burgers/model.safetensors",
    }
    assert wanted - inside == set()
    assert not [name for name in inside if name.startswith(("tests", "docs"))]
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "pyproject.toml" in names and "opkit/cli/__init__.py" in names
    assert wheel.stat().st_size < 20 << 20


USE = """
import numpy as np

import opkit

surrogate: opkit.Surrogate = opkit.load("zoo:burgers")
names: list[str] = opkit.list_cases()
right: str = opkit.__version__
wrong: int = opkit.load("zoo:burgers")
opkit.load(3)
"""


def test_python_is_the_same_everywhere() -> None:
    """The oldest that pip takes is the oldest that the code is written for."""
    oldest = PROJECT["requires-python"].removeprefix(">=")
    for place in ("docs/start/install.md", "README.md"):
        words = " ".join((ROOT / place).read_text("utf-8").split())
        assert f"Python {oldest}" in words, place


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_types_are_seen_from_outside(tmp_path: Path) -> None:
    """mypy of a program that uses opkit: py.typed counts, and two faults are seen."""
    (tmp_path / "use.py").write_text(USE)
    call = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "use.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        call,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    faults = [line for line in done.stdout.splitlines() if line.startswith("use.py")]
    assert [re.findall(r"\[([\w-]+)\]$", line) for line in faults] == [
        ["assignment"],
        ["arg-type"],
    ], done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_core_installs_alone_and_runs(tmp_path: Path) -> None:
    """In a fresh environment, without any extra: help, cases, templates, and doctor."""
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "-q", str(ROOT)]
    subprocess.run(install, check=True)
    verb = str(python.parent / "opkit")

    def said(*words: str) -> str:
        done = subprocess.run(
            [verb, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 2), done.stderr
        return done.stdout + done.stderr

    assert said("--version").strip() == PROJECT["version"]
    assert "darcy" in said("cases")
    assert said("zoo", "burgers").startswith("# fno for burgers")
    assert "written" in said("new", "case", "mine")
    missing = said("train", "none.h5", "--out", "run")
    assert missing.startswith("Error: ") and missing.count("\n") == 1
