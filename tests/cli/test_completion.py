"""`opkit --install-completion`: what bash completes then, in a home of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
opkit --install-completion
source "$HOME/.bashrc"
ask() { COMP_WORDS=(opkit "$@"); COMP_CWORD=$#; _opkit_completion opkit; }
ask zoo bur; echo "answer ${COMPREPLY[@]}"
ask cases show darcy-m; echo "answer ${COMPREPLY[@]}"
ask trai; echo "answer ${COMPREPLY[@]}"
"""


@pytest.mark.slow
def test_bash_completes_verbs_cases_and_the_zoo(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [bash, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("answer")]
    assert answers == ["answer burgers", "answer darcy-mesh", "answer train"]
