"""The script that finds a Python for `make`: shims that refuse, versions of pyenv."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="a checkout is worked on with Python 3.12"
)
SCRIPT = Path(__file__).parents[2] / ".ci" / "find-python"
OLD = "#!/bin/sh\necho 'Python 3.11.7'\nexit 1\n"
SHIM = "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n"
REAL = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def find(home: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    tools = home / "tools"
    if not tools.exists():
        tools.mkdir()
        for tool in ("sh", "echo"):
            name = next(
                folder / tool
                for folder in map(Path, os.defpath.split(os.pathsep))
                if (folder / tool).exists()
            )
            (tools / tool).symlink_to(name)
    environment = {"PATH": f"{home / 'bin'}:{tools}", "HOME": str(home), **extra}
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)], env=environment, capture_output=True, text=True
    )


def is_this_python(result: subprocess.CompletedProcess[str]) -> bool:
    return result.returncode == 0 and os.path.samefile(
        result.stdout.strip(), sys.executable
    )


def test_shim_that_refuses_and_a_version_known_only_to_pyenv(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3", OLD)
    program(tmp_path / "bin/python3.12", SHIM)
    program(tmp_path / ".pyenv/versions/3.11.7/bin/python", OLD)
    program(tmp_path / ".pyenv/versions/3.12.1/bin/python", REAL)
    assert is_this_python(find(tmp_path))


def test_only_python_3_13(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3.13", REAL)
    assert is_this_python(find(tmp_path))


def test_default_python_is_new_enough(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3", REAL)
    assert is_this_python(find(tmp_path))


def test_named_python(tmp_path: Path) -> None:
    program(tmp_path / "mine", REAL)
    assert is_this_python(find(tmp_path, PYTHON=str(tmp_path / "mine")))
    program(tmp_path / "old", OLD)
    result = find(tmp_path, PYTHON=str(tmp_path / "old"))
    assert result.returncode == 1
    assert "3.12 or newer" in result.stderr


@pytest.mark.parametrize("programs", [{}, {"python3": OLD}])
def test_none_says_what_is_missing(tmp_path: Path, programs: dict[str, str]) -> None:
    for name, text in programs.items():
        program(tmp_path / "bin" / name, text)
    result = find(tmp_path)
    assert result.returncode == 1
    assert "Python 3.12 or newer" in result.stderr
    assert "PYTHON=" in result.stderr
