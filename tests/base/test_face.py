"""The public names of opkit: listed, importable, light until they are used."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import opkit

NAMES = {
    "Adaptive", "Case", "Surrogate", "errors", "evaluate", "export", "generate",
    "list_cases", "load", "load_case", "report", "save", "save_meshes",
    "solve_pde", "train",
}  # fmt: skip
VERBS = ("evaluate", "export", "generate", "report", "train")
"""Functions that have the name of their package."""
HEAVY = ("torch", "h5py", "dolfinx", "triton", "matplotlib", "xarray")


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter."""
    command = [sys.executable, "-c", code, *arguments]
    answer = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_public_names_are_listed() -> None:
    assert set(opkit.__all__) == NAMES | {"__version__"}
    assert python("import opkit; print(*dir(opkit))").split() == sorted(NAMES)


def test_each_name_is_there() -> None:
    for name in NAMES:
        value = getattr(opkit, name)
        assert value is getattr(opkit, name)
        assert callable(value) or name == "errors"


def test_packages_named_like_their_function_are_called_as_it() -> None:
    for verb in VERBS:
        package = getattr(opkit, verb)
        assert package is sys.modules[f"opkit.{verb}"]
        assert inspect.isfunction(getattr(package, verb))
        with pytest.raises(TypeError, match=r"missing .* required .*argument"):
            package()


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("import opkit.{verb}", marks=pytest.mark.slow),
        pytest.param("import opkit; opkit.{verb}", marks=pytest.mark.slow),
        "from opkit import {verb}",
        pytest.param("from opkit.{verb} import {verb}", marks=pytest.mark.slow),
    ],
)
def test_calls_work_whichever_was_imported_first(first: str) -> None:
    lines = [first.format(verb=verb) for verb in VERBS]
    for verb in VERBS:
        lines.append(f"""
import opkit.{verb} as package
from opkit import {verb} as name
assert package is opkit.{verb} is name, (package, name)
from opkit.{verb} import {verb} as function
assert function is package.{verb} and function is not package
try:
    opkit.{verb}()
except TypeError as error:
    assert "required" in str(error), error
else:
    raise AssertionError("{verb} took no arguments")""")
    assert python("import opkit\n" + "\n".join(lines)) == ""


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'opkit' has no .*'trian'"):
        _ = opkit.trian  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "import opkit",
        "import opkit; dir(opkit); opkit.errors; opkit.__version__",
        "import opkit; opkit.list_cases(); opkit.load_case('darcy')",
        "from opkit import train, evaluate, generate, report, export, errors",
        "import sys; sys.argv = ['opkit', '--help']\nimport opkit.cli\n"
        "try: opkit.cli.main()\nexcept SystemExit: pass",
    ],
)
def test_what_loads_nothing_heavy(code: str) -> None:
    after = f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code + after).split("\n")[-1] == "[]"


def test_a_worker_of_generation_starts_without_what_only_others_need() -> None:
    code = (
        "import sys, opkit.generate.worker; from opkit.case import load_case; "
        "load_case('darcy').build_solver(); print(*sys.modules)"
    )
    assert not {"torch", "scipy.stats", "xarray"} & set(python(code).split())
