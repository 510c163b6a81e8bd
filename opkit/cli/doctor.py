"""`opkit doctor`: what is installed, and which backends would run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from opkit.base.environment import VERSION
from opkit.cli.cases import JSON


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(doctor)


PACKAGES = {
    "lightning-fabric": ("train", "train, tune"),
    "torchmetrics": ("train", "train, tune"),
    "matplotlib": ("plots", "plot, report, inspect --plot, solve --figure"),
    "cmocean": ("plots", ""),
    "dolfinx-solver-real": ("fem", "generate and validate of mesh cases"),
    "meshio": ("fem", "predict to .vtu and .xdmf, meshes from files"),
    "numba": ("fast", ""),
    "pyfftw": ("fast", ""),
    "ducc0": ("fast", ""),
    "triton": ("kernels", ""),
    "optuna": ("tune", "tune"),
    "aiohttp": ("serve", "serve"),
    "onnx": ("export", "export --to onnx"),
    "onnxruntime": ("export", "export --to onnx"),
    "zarr": ("zarr", "export-data --to zarr"),
    "distributed": ("cluster", "generate --scheduler"),
    "tensorboard": ("tensorboard", "training.loggers=[tensorboard]"),
    "mlflow-skinny": ("mlflow", "training.loggers=[mlflow]"),
    "wandb": ("wandb", "training.loggers=[wandb]"),
}
"""Optional package to its extra and the verbs that do not work without it."""


def doctor(
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Solve and train something small.")
    ] = True,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Say what is installed, what is missing and what that blocks; test the rest."""
    from opkit.cli.console import as_json, table

    checks: dict[str, Callable[[], str]] = {
        "opkit": lambda: VERSION,
        "Python": lambda: f"{platform.python_version()} on {platform.platform()}",
        "processor": _processor,
        "memory": _memory,
        "cores": lambda: str(len(os.sched_getaffinity(0))),
        "torch": _torch,
        "GPU": _gpu,
        "triton": lambda: version("triton"),
        "spectral backend": _spectral,
        "FFT for solvers": _fft,
        "HDF5": _hdf5,
        "dolfinx": _dolfinx,
        "MPI": _mpi,
    }
    rows = [{"what": k, "found": _answer(check)} for k, check in checks.items()]
    if test:
        rows.append({"what": "self-test", "found": _self_test()})
    packages = [_package(name) for name in PACKAGES]
    if json:
        as_json({"machine": rows, "packages": packages})
        return
    table(rows)
    absent = [row for row in packages if row["found"] is None]
    if len(absent) < len(packages):
        shown = ("package", "found", "extra")
        table([{key: row[key] for key in shown} for row in packages if row["found"]])
    for row in absent:
        blocks = f"; needed by {row['blocks']}" if row["blocks"] else "; not required"
        print(f"{row['package']} is not installed{blocks}: {row['install']}")
    if not absent:
        print("Every optional package is installed.")


def _package(name: str) -> dict[str, str | None]:
    extra, blocks = PACKAGES[name]
    try:
        installed: str | None = version(name)
    except PackageNotFoundError:
        installed = None
    remedy = f'python -m pip install "opkit[{extra}]"'
    return {
        "package": name,
        "found": installed,
        "extra": extra,
        "blocks": blocks or None,
        "install": None if installed else remedy,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _memory() -> str:
    from opkit.cli.console import size

    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
    page, pages, free = (os.sysconf(name) for name in names)
    return f"{size(page * pages)}, {size(page * free)} unused"


def _self_test() -> str:
    """Solve a Darcy sample and step a small FNO once: seconds, or what went wrong."""
    import time

    import numpy as np
    import torch

    from opkit.case import load_case
    from opkit.case.data import draw
    from opkit.operators.interface import build_operator
    from opkit.operators.shapes import DataShape

    start = time.perf_counter()
    try:
        case = load_case("darcy", ["resolution=32"])
        solver = case.build_solver()
        drawn = draw(case, solver, 0, 0, "float64")
        inputs = {k: v[None] for k, v in drawn.items()}
        solution = solver.solve(inputs)
        worst = float(np.max(solution.error))
        shape = DataShape(1, 1, (32, 32), (False, False), (1.0, 1.0))
        model = build_operator("fno", shape, {"n_modes": [8, 8], "hidden_channels": 8})
        x = torch.as_tensor(inputs["permeability"], dtype=torch.float32)[:, None]
        loss = model(x).square().mean()
        loss.backward()
        if not (torch.isfinite(loss) and worst < 1e-6):
            return f"failed: solver error {worst:.1e}, loss {loss.item():.3g}"
    except Exception as error:
        reason = str(error).partition("\n")[0]
        return f"failed: {type(error).__name__}: {reason}"
    seconds = time.perf_counter() - start
    return f"passed in {seconds:.1f} s: Darcy solved to {worst:.0e}, an FNO stepped"


def _answer(question: Callable[[], str]) -> str:
    try:
        return question()
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
    wheel = version("dolfinx-solver-real")
    from opkit.solvers.fem.stack import dolfinx

    return f"{dolfinx.__version__} (wheel {wheel})"


def _mpi() -> str:
    from opkit.solvers.fem.stack import MPI

    library: str = MPI.Get_library_version()
    return library.splitlines()[0].strip()
