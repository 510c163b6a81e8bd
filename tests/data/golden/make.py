"""Make the golden files: python tests/data/golden/make.py, with opkit 0.1.0.

They were made once, at commit d0406fd, before the modules of opkit were moved, and
stay: later versions must read the data files, find them valid, load the bundles and
predict the same. This script is the record of how; it runs against that version.

``data/NAME.h5`` with ``NAME.json``, what a reader must find in it; ``bundles/NAME/``
with ``prediction.npz``: inputs, outputs, and what a check says of them;
``solution.json``: a PDE solved by the hypernetwork that opkit ships.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from answers import SOLVE, Arrays, ask, describe

import opkit
from opkit.cli import app
from opkit.datasets.header import Axis, Header, Mesh, VariableSpec
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer

HERE = Path(__file__).parent
SAMPLES = ("samples.train=4", "samples.validation=2", "samples.test=2")
FEW = ("samples.train=2", "samples.validation=1", "samples.test=1")
MANY = ("samples.train=32", "samples.validation=80", "samples.test=4")
REPEATED = ("checked/", "once/")
"""The outputs again, or the first frame of them."""
ROWS = 2
"""Test samples in a prediction."""


@dataclass(frozen=True)
class Data:
    """A data file: a case, what is changed in it, further options of ``generate``."""

    case: str
    settings: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A bundle: a data file, a recipe or operator, what is changed in it."""

    data: str
    operator: str
    settings: tuple[str, ...]


GZIP = ("--gzip", "9")
BARE = "recipes={}"
"""Without the case's recipes, which bundles repeat: for small files."""
FLOW = ("resolution=16", "solver.parameters.records=4", *FEW)
TURBULENCE = (
    "resolution=16",
    "solver.parameters.records=2",
    "distribution.grid=16",
    "distribution.spin_up=8.64e5",
)
DATA = {
    "darcy": Data("darcy", ("resolution=9", *SAMPLES, BARE)),
    "darcy-lognormal": Data(
        "darcy-lognormal", ("resolution=9", *SAMPLES), ("--float64", *GZIP)
    ),
    "burgers": Data(
        "burgers",
        ("resolution=32", "solver.parameters.records=4", *SAMPLES, BARE,
         "solver.parameters.record_interval=0.2"),
    ),
    "navier-stokes": Data("navier-stokes", (*FLOW, BARE), GZIP),
    "quasi-geostrophic": Data("quasi-geostrophic", (*TURBULENCE, *FEW), GZIP),
    "elliptic-boundary": Data("elliptic-boundary", ("resolution=6", *SAMPLES, BARE)),
    "elliptic-boundary-neumann": Data(
        "elliptic-boundary-neumann", ("resolution=6", *SAMPLES), ("--seed", "3")
    ),
    "darcy-mesh": Data("darcy-mesh", ("resolution=2", *SAMPLES)),
    "elastic-cantilever": Data("elastic-cantilever", ("resolution=2", *SAMPLES)),
    "manufactured": Data("manufactured", ("resolution=8", *FEW), GZIP),
    "hypino-heat": Data("hypino-heat", ("resolution=9",)),
    "hypino-poisson-l-shape": Data("hypino-poisson-l-shape", ("resolution=9",)),
}  # fmt: skip
MORE_DATA = {"many": Data("darcy", ("resolution=9", *MANY))}
"""For training only; not kept."""

SHORT = ("training.epochs=2", "training.batch_size=2", "subsample=1")
SMALL = (*SHORT, "model.hidden_channels=4")
FNO = (*SMALL, "model.n_layers=1")
LSM = ("model.n_scales=2", "model.n_heads=2", "model.projection_channels=8")
BRANCH = (*SHORT, "model.n_basis=3", "model.branch_widths=[8]")
MODES_2D = "model.n_modes=[4,4]"
ROLLING = "mode=autoregressive"
MGNO = (*SMALL, "model.n_layers=2", "model.iterations=[[1,0],[1,1]]")
SPON = (*SMALL, "model.n_layers=1", "model.n_levels=2")
BENO = (*SMALL, "model.n_layers=1", "model.n_heads=2", "model.transformer_layers=1")
BUNDLES = {
    "fno": Bundle("darcy", "fno", (*FNO, MODES_2D, "model.padding=0.5")),
    "fno-apart": Bundle(
        "many",
        "fno-demo",
        (*FNO, MODES_2D, "subsample=2", "model.norm=group_norm", "training.epochs=40"),
    ),
    "elliptic-fno": Bundle(
        "darcy", "elliptic-fno", (*FNO, MODES_2D, "model.coefficient_channels=4")
    ),
    "unet": Bundle("darcy", "unet", (*SMALL, "model.n_scales=2")),
    "mgno": Bundle("darcy", "mgno", MGNO),
    "lsm": Bundle("darcy", "lsm", (*SMALL, *LSM)),
    "deeponet": Bundle(
        "darcy", "deeponet", (*BRANCH, "model.branch=mlp", "model.trunk_widths=[8]")
    ),
    "pod-deeponet": Bundle("darcy", "pod-deeponet", (*BRANCH, "model.branch=mlp")),
    "fno-last-time": Bundle("burgers", "fno", (*FNO, "model.n_modes=[6]")),
    "fno-rolling-burgers": Bundle(
        "burgers", "fno", (*FNO, ROLLING, "history=1", "model.n_modes=[6]")
    ),
    "fno-rolling": Bundle(
        "navier-stokes", "fno", (*FNO, ROLLING, "history=1", MODES_2D)
    ),
    "fno-rolling-history-2": Bundle(
        "navier-stokes", "fno", (*FNO, ROLLING, "history=2", MODES_2D)
    ),
    "unet-rolling": Bundle(
        "navier-stokes", "unet", (*SMALL, ROLLING, "history=1", "model.n_scales=2")
    ),
    "fno-rolling-layers": Bundle(
        "quasi-geostrophic", "fno", (*FNO, ROLLING, "history=1", MODES_2D)
    ),
    "fno-rolling-static": Bundle(
        "waves", "fno", (*FNO, ROLLING, "history=1", "model.n_modes=[6]")
    ),
    "fno-space-time": Bundle(
        "navier-stokes",
        "fno",
        (*FNO, "mode=space-time", "model.padding=1", "model.n_modes=[2,4,4]"),
    ),
    "fno-space-time-burgers": Bundle(
        "burgers",
        "fno",
        (*FNO, "mode=space-time", "model.padding=1", "model.n_modes=[2,6]"),
    ),
    "spon": Bundle("darcy-mesh", "spon", SPON),
    "spon-message-passing": Bundle("darcy-mesh", "spon-message-passing", SPON),
    "spon-elasticity": Bundle("elastic-cantilever", "spon", SPON),
    "lsm-points": Bundle(
        "places",
        "lsm-points",
        (*SMALL, *LSM, "model.n_modes=[2,2]", "model.latent_shape=[8,8]"),
    ),
    "beno": Bundle("elliptic-boundary", "beno", (*BENO, "model.levels=2")),
    "beno-neumann": Bundle(
        "elliptic-boundary-neumann", "beno", (*BENO, "model.levels=2")
    ),
    "beno-parity": Bundle(
        "elliptic-boundary", "beno", (*BENO, "model.parity=true", "model.mlp_layers=1")
    ),
    "embedded": Bundle(
        "elliptic-boundary",
        "embedded",
        (*SHORT, "model.operator=fno", "model.model.n_modes=[4,4]",
         "model.model.hidden_channels=4", "model.model.n_layers=1"),
    ),
}  # fmt: skip


def main() -> None:
    for folder in ("data", "bundles"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # names in the files are then without folders
        for name, data in (DATA | MORE_DATA).items():
            words = ("generate", "case", data.case, "--out", f"{name}.h5", "--quiet")
            command(*words, *data.options, settings=data.settings)
        import_waves()
        write_places()
        for name in (*DATA, "waves", "places"):
            keep_data(Path(f"{name}.h5"))
        for name, bundle in BUNDLES.items():
            run = (f"{bundle.data}.h5", "--operator", bundle.operator, "-o", name)
            command("train", *run, "--device", "cpu", settings=bundle.settings)
            keep_bundle(Path(name), Path(f"{bundle.data}.h5"))
        solved = command(*SOLVE)
        (HERE / "solution.json").write_text(solved)
        os.chdir(HERE)


def command(*words: str, settings: tuple[str, ...] = ()) -> str:
    """Run a command line and return what it prints."""
    sets = [word for setting in settings for word in ("--set", setting)]
    sys.argv = ["opkit", *words, *sets]  # bundles record it
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        app(args=sys.argv[1:], standalone_mode=False)
    return printed.getvalue()


def import_waves() -> None:
    """Write waves that travel at speeds given beside them, which no case has."""
    rng, n, frames = np.random.default_rng(0), 16, 4
    x, time = np.arange(n) / n, np.arange(frames)[:, None]
    for split, count in (("train", 4), ("validation", 2), ("test", 2)):
        speed = rng.uniform(0.5, 1.5, (count, 1, 1))
        size, shift = rng.normal(size=(2, count, 1, 1))
        u = 3 + size * np.sin(2 * np.pi * (x - 0.1 * speed * time + shift))
        field = np.broadcast_to(speed[:, 0], (count, n))
        np.savez(f"waves-{split}.npz", u=np.float32(u), c=np.float32(field))
    splits = ("train", "validation", "test")
    files = [w for s in splits for w in (f"--{s}", f"waves-{s}.npz")]
    inputs = ("initial_wave=u:sample,time,x@0", "speed=c:sample,x")
    input_options = [w for text in inputs for w in ("--input", text)]
    arguments = (
        "--output",
        "wave=u:sample,time,x",
        "--axis",
        "x=0,1",
        "--axis",
        "time=0,3",
    )
    command("import", "waves.h5", *files, *input_options, *arguments)


def write_places() -> None:
    """Write fields on the nodes of a mesh, coordinates among them: for lsm-points."""
    n, rng = 4, np.random.default_rng(0)
    y, x = (axis.ravel() for axis in np.mgrid[0:n, 0:n] / (n - 1))
    corner = np.arange(n * n).reshape(n, n)[:-1, :-1].ravel()
    lower = np.stack([corner, corner + 1, corner + n], 1)
    upper = np.stack([corner + n + 1, corner + n, corner + 1], 1)
    cells = np.concatenate([lower, upper])
    counts = {"train": 4, "validation": 2, "test": 2}
    ends: list[int] = np.cumsum([0, *counts.values()]).tolist()
    source = rng.normal(size=(ends[-1], 1)) * np.sin(3 * x) + y
    fields = {
        "place_x": np.tile(np.float32(x), (ends[-1], 1)),
        "place_y": np.tile(np.float32(y), (ends[-1], 1)),
        "source": np.float32(source),
        "answer": np.float32(source**2),
    }
    header = Header(
        case={},
        variables=tuple(
            VariableSpec(
                name, "output" if name == "answer" else "input", ("node",), (n * n,)
            )
            for name in fields
        ),
        coordinates=dict[str, Axis](),
        splits={
            name: np.arange(first, first + count)
            for (name, count), first in zip(counts.items(), ends, strict=False)
        },
        mesh=Mesh(np.stack([x, y], 1), cells),
    )
    with h5py.File("places.h5", "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(slice(0, ends[-1]), np.arange(ends[-1]), fields)
        writer.finish()


def keep_data(path: Path) -> None:
    with DataFile(path) as file:
        description = describe(file)
    text = json.dumps(description, sort_keys=True) + "\n"
    (HERE / "data" / f"{path.stem}.json").write_text(text)
    shutil.copy(path, HERE / "data")


def keep_bundle(run: Path, data: Path) -> None:
    target = HERE / "bundles" / run.name
    shutil.copytree(run / "bundle", target)
    surrogate = opkit.load(target)
    with DataFile(data) as file:
        inputs = inputs_of(surrogate.config, file)
    answers = ask(surrogate, inputs)
    stored = {k: v for k, v in answers.items() if not k.startswith(REPEATED)}
    np.savez_compressed(
        target / "prediction.npz", allow_pickle=False, **inputs, **stored
    )


def inputs_of(config: Any, file: DataFile) -> Arrays:
    """Read the first test samples as what a surrogate takes by name of the variable."""
    recipe, rows = config.recipe, file.indices("test")[:ROWS]
    stride = (slice(None, None, recipe.subsample),) * len(config.axes)
    inputs: Arrays = {}
    for variable in (*config.inputs, *config.boundary):
        values = file.read(variable.name, rows)
        if recipe.mode == "autoregressive":
            values = values[:, : recipe.history]
        elif recipe.mode == "space-time":
            values = np.repeat(values[:, None], config.shape.shape[0], 1)
        elif recipe.subsample > 1:
            values = values[:, *stride]
        inputs[f"inputs/{variable.name}"] = values
    if config.static_channels:
        inputs["static"] = file.read("speed", rows)[:, None]
    return inputs


if __name__ == "__main__":
    main()
