"""`opkit new`: a project that works as it is, from outside, as a user would use it."""

import subprocess
import sys
from pathlib import Path

import pytest

from opkit.errors import CaseError, DataError, OpkitInputError
from opkit.templates import write_project


def info(project: Path, into: Path) -> None:
    """Write what pip writes of a package into its site folder, without pip."""
    import tomllib

    config = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    folder = into / f"{config['name'].replace('-', '_')}-0.1.0.dist-info"
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {config['name']}\nVersion: 0.1.0\n"
    (folder / "METADATA").write_text(head)
    lines: list[str] = []
    for group, points in config["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {at}" for name, at in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_its_own_tests_pass(tmp_path: Path) -> None:
    project = write_project("plugin", "heat-rod", tmp_path)
    info(project, project)
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=project,
        env={"PYTHONPATH": f"{root}:{project}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


@pytest.mark.slow
def test_pip_installs_it_and_opkit_finds_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for kind, name in (("case", "heat-bar"), ("operator", "wide-net")):
        project = write_project(kind, name, tmp_path)
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
        subprocess.run([*install, "--target", str(site), str(project)], check=True)
    root = str(Path(__file__).parents[2])
    env = {"PYTHONPATH": f"{root}:{site}", "PATH": "/usr/bin:/bin", "HOME": "/tmp"}

    def opkit(*words: str) -> str:
        command = [sys.executable, "-c", "from opkit.cli import main; main()", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    opkit("check-solver", "heat-bar", "--resolution", "31")
    opkit("generate", "case", "heat-bar", "--out", "bar.h5")
    for operator in ("fno", "wide-net"):
        opkit("train", "bar.h5", "--operator", operator, "--out", f"runs/{operator}")
    assert "reproduced exactly" in opkit("evaluate", "runs/wide-net")


def test_the_case_has_sixty_lines_to_replace(tmp_path: Path) -> None:
    project = write_project("case", "mine", tmp_path)
    lines = (project / "mine" / "solver.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 60
    assert not (project / "mine" / "operator.py").exists()


def test_every_file_is_python_that_compiles(tmp_path: Path) -> None:
    project = write_project("plugin", "a-b-1", tmp_path)
    modules = list(project.rglob("*.py"))
    assert len(modules) == 6
    for module in modules:
        compile(module.read_text(), str(module), "exec")
        assert "$" not in module.read_text()


@pytest.mark.parametrize(
    ("kind", "name", "error", "message"),
    [
        ("plugins", "heat", OpkitInputError, "Did you mean 'plugin'"),
        ("case", "Heat", OpkitInputError, "no name for a project"),
        ("case", "../heat", OpkitInputError, "no name for a project"),
        ("case", "class", OpkitInputError, "no name for a project"),
        ("case", "darcy", CaseError, "case darcy exists already"),
        ("operator", "fno", CaseError, "operator fno exists already"),
        ("plugin", "fno", CaseError, "operator fno exists already"),
    ],
)
def test_bad_input_writes_nothing(
    kind: str, name: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        write_project(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_that_name_stays(tmp_path: Path) -> None:
    (tmp_path / "heat-rod").mkdir()
    (tmp_path / "heat-rod" / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match="exists already"):
        write_project("case", "heat-rod", tmp_path)
    assert (tmp_path / "heat-rod" / "mine.txt").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1
