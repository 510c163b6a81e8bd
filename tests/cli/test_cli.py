"""The command line: light to start, clear when the input is wrong."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "triton", "h5py", "dolfinx", "matplotlib", "neuralop", "dask")


def opkit(*words: str) -> subprocess.CompletedProcess[str]:
    code = "import opkit.cli; opkit.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "code",
    [
        "import opkit",
        "import opkit; opkit.load_case('darcy')",
        "import opkit.cli, sys; sys.argv[1:] = ['--help']\n"
        "try: opkit.cli.main()\nexcept SystemExit: pass",
        "import opkit.cli, sys; sys.argv[1:] = ['train', '--help']\n"
        "try: opkit.cli.main()\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    check = f"\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_cases_table_and_json() -> None:
    assert "darcy" in opkit("cases").stdout
    rows = json.loads(opkit("cases", "--json").stdout)
    assert "darcy" in [row["name"] for row in rows]


def test_cases_show_is_the_resolved_case() -> None:
    shown = opkit("cases", "show", "darcy", "--set", "samples.train=7").stdout
    assert "∇" in shown and "train: 7" in shown and "2010.08895" in shown
    data = json.loads(opkit("cases", "show", "darcy", "--json").stdout)
    assert data["name"] == "darcy"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cases", "show", "dracy"], "Did you mean 'darcy'?"),
        (["generate", "case", "dracy", "--out", "x.h5"], "Did you mean 'darcy'?"),
        (["generate", "case", "darcy", "--out", "x.h5", "--set", "a"], "--set a.b=3"),
        (["generate", "case", "darcy", "--workers", "9" * 12], "1,000,000,000"),
        (["inspect", "absent.h5"], "absent.h5"),
        (["train", "absent.h5"], "absent.h5"),
        (["evaluate", "absent-run"], "absent-run"),
        (["predict", "absent-run", "absent.npz", "-o", "y.npz"], "absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], message: str) -> None:
    result = opkit(*words)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback() -> None:
    result = opkit("cases", "show", "dracy", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_doctor_names_what_it_found() -> None:
    report = json.loads(opkit("doctor", "--json").stdout)
    versions = {row["what"]: row["found"] for row in report["machine"]}
    assert versions["self-test"].startswith("passed in")
    assert "GB" in versions["memory"] and versions["processor"]
    packages = {row["package"]: row for row in report["packages"]}
    assert packages["torchmetrics"]["blocks"] == "train, tune"
    for row in packages.values():  # what is missing has a command, what is there none
        assert (row["install"] is None) == (row["found"] is not None)
    assert versions["Python"].startswith("3.")
    for what in (
        "torch",
        "GPU",
        "triton",
        "dolfinx",
        "MPI",
        "HDF5",
        "spectral backend",
    ):
        assert versions[what]
