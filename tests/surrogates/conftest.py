"""A small Darcy surrogate with its data, trained once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import opkit
from opkit.datasets.read import DataFile
from opkit.generate import generate
from opkit.surrogate import Surrogate
from opkit.train import train

N = 17
SETTINGS = (
    "subsample=1",
    "model.n_modes=[6, 6]",
    "model.hidden_channels=8",
    "model.n_layers=2",
    "training.epochs=12",
    "training.batch_size=10",
    "training.learning_rate=1e-2",
)


@dataclass(frozen=True)
class Trained:
    """A run, its data file, and the test split."""

    run: Path
    data: Path
    permeability: np.ndarray
    pressure: np.ndarray

    def load(self) -> Surrogate:
        return opkit.load(self.run)


@pytest.fixture(scope="session")
def darcy(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("surrogates")
    sizes = ("samples.train=80", "samples.validation=78", "samples.test=400")
    case = opkit.load_case("darcy", (f"resolution={N}", *sizes))
    data = generate(case, folder / "darcy.h5")
    train(data, folder / "run", operator="fno", overrides=SETTINGS, device="cpu")
    with DataFile(data) as file:
        rows = file.indices("test")
        a, p = file.read("permeability", rows), file.read("pressure", rows)
    return Trained(folder / "run", data, a, p)


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A rollout surrogate of Navier-Stokes at 32²; inputs are its first two frames."""
    folder = tmp_path_factory.mktemp("flow")
    settings = (
        "resolution=32",
        "solver.parameters.records=6",
        "solver.parameters.viscosity=1e-2",
        "solver.parameters.rtol=1e-3",
        "samples.train=16",
        "samples.validation=8",
        "samples.test=4",
    )
    case = opkit.load_case("navier-stokes", settings)
    data = generate(case, folder / "flow.h5")
    small = ("history=2", "model.n_modes=[4, 4]", "model.hidden_channels=8")
    epochs = ("model.n_layers=2", "training.epochs=3", "training.batch_size=4")
    train(
        data, folder / "run", operator="fno", overrides=(*small, *epochs), device="cpu"
    )
    with DataFile(data) as file:
        frames = file.read("vorticity", file.indices("test"))
    return Trained(folder / "run", data, frames[:, :2, None], frames[:, 2:, None])


def relative_l2(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    difference, size = (x.reshape(len(v), -1) for x in (u - v, v))
    return np.linalg.norm(difference, axis=1) / np.linalg.norm(size, axis=1)


@pytest.fixture(scope="session")
def error():
    return relative_l2
