"""Machines that are not ours: job systems, limits, file systems, compilers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray

from opkit.base import sandbox
from opkit.base.children import drop_odd_threads, environment
from opkit.base.compiler import compiler_fault
from opkit.case.recipe import Recipe
from opkit.datasets.read import explained
from opkit.errors import DataError, OpkitInputError
from opkit.solvers.fem.form_cache import clear
from opkit.train import train
from opkit.train.loop.devices import launched, make_fabric

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize(
    ("value", "used"),
    [("", None), ("0", None), ("-2", None), ("four", None), ("auto", None),
     ("4,", None), ("1e3", None), ("99999999999", None), ("1", "1"), (" 8 ", "8"),
     ("4\r", "4"), ("4,2", "4"), ("\N{ARABIC-INDIC DIGIT FOUR}", "4")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "NUMBA_NUM_THREADS"])
def test_odd_numbers_of_threads_are_dropped(
    monkeypatch: Patch, name: str, value: str, used: str | None
) -> None:
    monkeypatch.setenv(name, value)
    drop_odd_threads()
    assert os.environ.get(name) == used


@pytest.mark.parametrize("value", ["2,2", "", "auto", "4\r"])
def test_scipy_transforms_under_odd_numbers_of_threads(value: str) -> None:
    """scipy's transforms read one number and raise RuntimeError on the others."""
    code = (
        "import opkit, numpy as np, scipy.fft as fft\n"
        "print(round(float(fft.dstn(np.ones((4, 4)), type=1, norm='ortho').sum()), 6))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment({"OMP_NUM_THREADS": value}),
        capture_output=True, text=True,
    )  # fmt: skip
    # the sum of all entries of S 1 1ᵀ S, S the orthonormal sine transform
    k = np.arange(1, 5)
    one = np.sqrt(2 / 5) * np.sin(np.pi * np.outer(k, k) / 5)
    assert done.stdout.split() == [str(round(one.sum() ** 2, 6))], done.stderr


def test_children_do_not_look_for_a_launcher(monkeypatch: Patch) -> None:
    for name in ("PMI_FD", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("OMPI_MCA_btl", "self")  # a setting, not a launcher
    kept = environment()
    assert "OMPI_MCA_btl" in kept
    assert not [name for name in kept if name.startswith(("PMI", "OMPI_COMM"))]


def test_a_job_of_two_tasks_trains_alone(monkeypatch: Patch) -> None:
    pytest.importorskip("lightning_fabric")
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert make_fabric(Recipe(operator="fno"), "cpu").world_size == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [("2", "WORLD_SIZE is 2 and RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not set"),
     ("two", "'two', no number"), ("0", "'0', no number"), ("", None), ("1", None)],
)  # fmt: skip
def test_processes_that_nobody_started(
    monkeypatch: Patch, value: str, says: str | None
) -> None:
    """Left by a job script; a process waited for the others for ever."""
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", value)
    if says is None:
        assert launched() == (1, 1)
        return
    with pytest.raises(OpkitInputError, match=says):
        launched()


@pytest.mark.parametrize(
    "variables",
    [{"WORLD_SIZE": "", "RANK": "", "LOCAL_RANK": ""}, {"SLURM_PROCID": "x"},
     {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}],
    ids=["ranks", "slurm", "ascii", "cp1252"],
)  # fmt: skip
def test_the_command_line_under_odd_variables(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """Empty ranks, which torchmetrics reads; terminals without the signs of tables."""
    code = (
        "import sys, torchmetrics\n" if "RANK" in variables else "import sys\n"
    ) + "from opkit.cli import main; sys.argv[1:] = ['cases', 'show', 'darcy']; main()"
    code = "import opkit\n" + code
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(variables), cwd=tmp_path,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"permeability" in done.stdout and not done.stderr


def test_a_folder_that_somebody_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    code += "from opkit.base.children import module_path; print(len(module_path()) > 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr


def test_forms_that_were_not_compiled_to_the_end(tmp_path: Path) -> None:
    """FEniCSx waits for them and fails, in every process from then on."""
    long_ago = time.time() - 1000
    for name in ("a.c", "b.c", "b.c.cached", "c.c"):
        path = tmp_path / f"libffcx_forms_{name}"
        path.touch()
        if name != "c.c":
            os.utime(path, (long_ago, long_ago))
    clear(tmp_path)
    left = sorted(path.name[14:] for path in tmp_path.iterdir())
    assert left == ["b.c", "b.c.cached", "c.c"]  # c may still be compiled


@pytest.mark.fem
def test_finite_elements_without_a_cache_folder() -> None:
    """/proc stands for a home that is read-only, also for root."""
    code = (
        "import os, numpy as np\n"
        "from opkit import load_case\n"
        "solver = load_case('darcy-mesh', ('resolution=2',)).build_solver()\n"
        "cells = len(solver.mesh()[1])\n"
        "solver.solve({'permeability': np.ones((1, cells))})\n"
        "print(os.environ['XDG_CACHE_HOME'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment({"XDG_CACHE_HOME": "/proc"}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.split()[-1])
    assert folder.name.startswith("opkit-forms-") and not folder.exists()


def test_limits_that_cannot_be_set_are_left_out(monkeypatch: Patch) -> None:
    """macOS refuses one of the memory; a job may have stricter ones already."""
    made = {}

    def set_limit(kind: int, limits: tuple[int, int]) -> None:
        if kind == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")
        made[kind] = limits

    def get_limit(kind: int) -> tuple[int, int]:
        own = 15 if kind == resource.RLIMIT_CPU else resource.RLIM_INFINITY
        return own, own

    monkeypatch.setattr(sandbox.resource, "setrlimit", set_limit)
    monkeypatch.setattr(sandbox.resource, "getrlimit", get_limit)
    sandbox.limit_this_process()
    assert made[resource.RLIMIT_CPU] == (15, 15)
    assert made[resource.RLIMIT_CORE] == (0, 0) and resource.RLIMIT_FSIZE in made


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_FSIZE"])
def test_foreign_files_are_read_under_limits_of_the_machine(
    tmp_path: Path, kind: str
) -> None:
    """macOS raises at any RLIMIT_AS; a job has a hard limit on the size of files."""
    (tmp_path / "sitecustomize.py").write_text(
        "import resource\n"
        "set_limit = resource.setrlimit\n"
        "def setrlimit(kind, limits):\n"
        f"    if kind == resource.{kind} and {kind == 'RLIMIT_AS'}:\n"
        "        raise ValueError('current limit exceeds maximum limit')\n"
        "    return set_limit(kind, limits)\n"
        f"if {kind == 'RLIMIT_FSIZE'}:\n"
        "    set_limit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "resource.setrlimit = setrlimit\n"
    )
    values = np.arange(24.0).reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", a=values, u=2 * values)
    xarray.Dataset({"a": (("sample", "y", "x"), values)}).to_netcdf(
        tmp_path / "a.nc", engine="h5netcdf"
    )
    code = (
        "from opkit.datasets.importers.convert import list_arrays\n"
        "print([x.shape for f in ('a.npz', 'a.nc') for x in list_arrays(f)])"
    )
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path,
        env=environment({"PYTHONPATH": path}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(3 * [(2, 3, 4)]), done.stderr


def test_windows_is_told_what_to_do() -> None:
    """Before anything that only POSIX has is imported."""
    code = "import sys; sys.platform = 'win32'; import opkit"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: opkit runs on Linux and macOS")
    assert "on Windows use it in WSL 2" in last


def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    said = "[Errno 37] Unable to open file (unable to lock file, errno = 37)"
    with (
        pytest.raises(DataError, match="HDF5_USE_FILE_LOCKING=FALSE reads without"),
        explained(tmp_path / "a.h5"),
    ):
        raise OSError(said)


def test_what_keeps_torch_from_compiling(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert compiler_fault() is None
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "my cache"))
    assert "TORCHINDUCTOR_CACHE_DIR to a folder without one" in str(compiler_fault())
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs a C++ compiler and g++ is not on PATH" in str(compiler_fault())


def test_training_compile_without_a_compiler(
    monkeypatch: Patch, tmp_path: Path, make_data: Callable[..., Path]
) -> None:
    data = make_data()
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        OpkitInputError, match=r"training.compile needs .* leave it out"
    ):
        train(data, tmp_path / "run", overrides=["training.compile=true"])
    assert not (tmp_path / "run").exists()


@pytest.mark.fem
def test_netcdf4_reads_after_the_finite_elements(tmp_path: Path) -> None:
    """The wheel of dolfinx has an HDF5 of its own, which netCDF4 did not survive."""
    if find_spec("netCDF4") is None:
        pytest.skip("no netCDF4")
    code = (
        "import numpy as np, xarray as xr\n"
        "made = xr.Dataset({'a': ('x', np.arange(3.0))})\n"
        "made.to_netcdf('a.nc', engine='h5netcdf')\n"
        "import opkit.solvers.fem.stack\n"
        "print(xr.open_dataset('a.nc', engine='netcdf4').a.values.sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["3.0"], done.stderr
