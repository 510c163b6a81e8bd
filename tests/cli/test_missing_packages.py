"""Every verb works without an optional package, or names the extra in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from opkit.case import load_case
from opkit.generate import generate
from opkit.train import train

HERE = Path(__file__).parent
SMALL = (
    "training.epochs=1",
    "subsample=1",
    "model.n_modes=[4, 4]",
    "model.hidden_channels=4",
)
SETTINGS = " ".join(f"--set '{word}'" for word in SMALL)
PROBLEM = "solve 'u_xx + u_yy = f' --source 1 -b 'u = 0 on all' --steps 2 --lbfgs 0"

# verb to the extra that it needs; None: it works with what `pip install .` brings
VERBS = {
    "cases": None,
    "cases show darcy": None,
    "doctor --json": None,
    "generate darcy --samples 4 --resolution 16 -o new.h5": None,
    "generate burgers --samples 2 --resolution 32 -o burgers.h5": None,
    "generate elliptic-boundary --samples 2 -o elliptic.h5": None,
    "generate darcy-mesh --samples 2 --resolution 4 -o mesh.h5": "fem",
    "generate darcy --samples 4 -o dask.h5 --resolution 16 --scheduler local": (
        "cluster"
    ),
    "inspect data.h5": None,
    "inspect data.h5 --plot picture.png": "plots",
    "validate data.h5 --samples 2": None,
    "import own.h5 --train a.npz --input a=a:sample,y,x --output u=u:sample,y,x": None,
    "export-data data.h5 well --to well": None,
    "export-data data.h5 data.zarr --to zarr": "zarr",
    f"train data.h5 -o trained {SETTINGS}": "train",
    f"train data.h5 --dry-run {SETTINGS}": "train",
    f"train data.h5 -o logged {SETTINGS} --set training.loggers=[tensorboard]": (
        "train"
    ),
    "train manufactured --operator hypino --dry-run": "train",
    "evaluate run": None,
    "evaluate run --solver": None,
    "predict run data.h5 -o predicted.nc": None,
    "predict run data.h5 -o predicted.npz": None,
    "plot run": "plots",
    "runs .": None,
    f"tune data.h5 -o tuned --trials 1 {SETTINGS} --set "
    "'search={training.learning_rate: {low: 1e-4, high: 1e-2}}'": "train",
    "export run --to pt2 -o made.pt2": None,
    "export run --to onnx -o made.onnx": "export",
    "report run -o page.html --no-solver": "plots",
    PROBLEM: None,
    "discover advection-diffusion --pairs 2 --powers 1 --derivatives 2 "
    "--wrong solver.parameters.diffusion=0.005": None,
    "assimilate advection-diffusion --cycles 3 --members 4 --steps 1": None,
    f"{PROBLEM} --figure solution.png": "plots",
}
OPTIONAL = [
    "torchmetrics",
    "lightning_fabric",
    "lightning_utilities",
    "neuralop",
    "triton",
    "matplotlib",
    "cmocean",
    "pyfftw",
    "numba",
    "llvmlite",
    "ducc0",
    "distributed",
    "dask_jobqueue",
    "dolfinx",
    "dolfinx_solver",
    "basix",
    "ufl",
    "petsc4py",
    "mpi4py",
    "meshio",
    "zarr",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "optuna",
    "tensorboard",
    "mlflow",
    "wandb",
    "aiohttp",
    "pyamg",
    "exponax",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data file, a run on it, and arrays of another origin."""
    folder = tmp_path_factory.mktemp("verbs")
    sizes = ("samples.train=8", "samples.validation=2", "samples.test=2")
    data = generate(load_case("darcy", ("resolution=16", *sizes)), folder / "data.h5")
    train(data, folder / "run", overrides=SMALL, device="cpu")
    a = np.random.default_rng(0).random((6, 8, 8))
    np.savez(folder / "a.npz", a=a, u=2 * a)
    return folder


def run(
    folder: Path, absent: list[str], *paths: Path, verbs: Iterable[str] = VERBS
) -> list[dict[str, object]]:
    """Run verbs in a Python without some packages, in a copy of a folder."""
    where = [str(p) for p in (*paths, HERE / "absent")]
    where += filter(None, [os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, str(HERE / "verbs.py")],
        input="\n".join(verbs),
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(where), "OPKIT_TEST_ABSENT": ",".join(absent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [end["line"] for end in ends] == list(verbs)
    return ends


def one_line(end: dict[str, object]) -> str | None:
    """Return the extra that a refusal names, None for success; nothing else may be."""
    text = str(end["said"]).strip()
    assert end["code"] in (0, 2), end
    assert "Traceback" not in text, end
    if end["code"] == 0:
        return None
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, end
    assert text.splitlines()[-1] == errors[0], end
    match = re.search(r'python -m pip install "opkit\[(\w+)\]"$', errors[0])
    assert match, end
    return match[1]


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A fresh folder with links to what was made."""
    for path in prepared.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_the_base_install_names_the_extra(folder: Path) -> None:
    extras = {line: extra for line, extra in VERBS.items() if extra is not None}
    extras["serve run"] = "serve"  # which does not end where it works
    ends = run(folder, OPTIONAL, verbs=extras)
    assert {end["line"]: one_line(end) for end in ends} == extras


@pytest.mark.slow
def test_every_verb_with_the_base_install(folder: Path) -> None:
    ends = run(folder, OPTIONAL)
    assert {end["line"]: one_line(end) for end in ends} == VERBS


@pytest.mark.slow
@pytest.mark.parametrize("package", OPTIONAL)
def test_without_one_package(folder: Path, package: str) -> None:
    for end in run(folder, [package]):
        one_line(end)


@pytest.mark.slow
def test_mpi4py_without_an_mpi_library(folder: Path) -> None:
    ends = {e["line"]: one_line(e) for e in run(folder, [], HERE / "broken")}
    wrong = {line: extra for line, extra in ends.items() if extra is not None}
    assert set(wrong) <= {line for line in VERBS if "darcy-mesh" in line}
