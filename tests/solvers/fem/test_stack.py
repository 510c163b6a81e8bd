"""FEniCSx beside h5py, in both orders, and imported in one place only."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOLVERS = Path(__file__).parents[3] / "solvers"
WRITE = "import tempfile; f = h5py.File(tempfile.mktemp(), 'w'); f['a'] = [1.0]; "


@pytest.mark.fem
@pytest.mark.parametrize(
    "imports",
    [
        "from opkit.solvers.fem.stack import dolfinx; import h5py",
        "import h5py; from opkit.solvers.fem.stack import dolfinx",
        "import opkit.datasets.read; from opkit.solvers.fem.stack import dolfinx; "
        "import h5py",
    ],
)
def test_either_order(imports: str) -> None:
    use = "assert f['a'][0] == 1.0; print(dolfinx.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}; {WRITE}{use}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_dolfinx_is_imported_in_one_place() -> None:
    pattern = re.compile(
        r"^\s*(import|from)\s+(dolfinx|dolfinx_solver|ufl|basix|petsc4py|mpi4py)\b",
        re.MULTILINE,
    )
    root = SOLVERS.parent
    files = [*root.glob("opkit/**/*.py"), *root.glob("solvers/**/*.py")]
    assert [f for f in files if pattern.search(f.read_text())] == []


def test_a_missing_dolfinx_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['dolfinx'] = None\n"
        "from opkit.errors import MissingExtraError\n"
        "try:\n    import opkit.solvers.fem.stack\n"
        "except MissingExtraError as error:\n    assert 'opkit[fem]' in str(error)\n"
        "else:\n    raise SystemExit('imported')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_solver_needs_no_dolfinx_until_it_solves() -> None:
    code = (
        "import sys, numpy\n"
        "from opkit.case import load_case\n"
        "solver = load_case('darcy-mesh').build_solver()\n"
        "solver.sample(numpy.random.default_rng(0)); solver.mesh()\n"
        "assert not {'dolfinx', 'petsc4py', 'h5py'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
