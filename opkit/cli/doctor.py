"""`opkit doctor`: what is installed, and which backends would run."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from opkit.cli.cases import JSON


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(doctor)


def doctor(json: Annotated[bool, JSON] = False) -> None:
    """Say what is installed, what is missing, and which backends would run."""
    from opkit.cli.console import as_json, table

    checks: dict[str, Callable[[], str]] = {
        "opkit": lambda: version("opkit"),
        "Python": lambda: f"{platform.python_version()} on {platform.platform()}",
        "cores": lambda: str(len(os.sched_getaffinity(0))),
        "torch": _torch,
        "GPU": _gpu,
        "triton": lambda: version("triton"),
        "spectral backend": _spectral,
        "FFT for solvers": _fft,
        "HDF5": _hdf5,
        "dolfinx": _dolfinx,
        "MPI": _mpi,
        "lightning-fabric (train)": lambda: version("lightning-fabric"),
        "neuraloperator (train)": lambda: version("neuraloperator"),
        "matplotlib (plots)": lambda: version("matplotlib"),
        "distributed (cluster)": lambda: version("distributed"),
        "zarr (zarr)": lambda: version("zarr"),
    }
    rows = [{"what": k, "found": _answer(check)} for k, check in checks.items()]
    as_json(rows) if json else table(rows)


def _answer(check: Callable[[], str]) -> str:
    try:
        return check()
    except PackageNotFoundError as error:
        return f"not installed ({error.name})"
    except ModuleNotFoundError as error:
        return f"not installed ({error.name})"
    except (ImportError, OSError, RuntimeError) as error:
        return f"broken: {str(error).splitlines()[0]}"


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _spectral() -> str:
    from opkit.kernels.spectral_conv import describe

    return "; ".join(f"{d.device}: {d.name} ({d.reason})" for d in describe())


def _fft() -> str:
    from opkit.solvers.fourier.transforms import available_backends

    return ", ".join(available_backends())


def _hdf5() -> str:
    from opkit.datasets.read import hdf5_version

    return f"{hdf5_version()}, h5py {version('h5py')}"


def _dolfinx() -> str:
    found = version("dolfinx-solver-real")
    importlib.import_module("h5py")  # before dolfinx, whose own HDF5 must come second
    importlib.import_module("dolfinx_solver")
    module = importlib.import_module("dolfinx")
    return f"{module.__version__} (wheel {found})"


def _mpi() -> str:
    importlib.import_module("h5py")
    importlib.import_module("dolfinx_solver")
    library: str = importlib.import_module("mpi4py.MPI").Get_library_version()
    return library.splitlines()[0].strip()
