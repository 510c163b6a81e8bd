"""Small trained runs that the tests of reports and pipelines share."""

from __future__ import annotations

from pathlib import Path

import pytest

from opkit.case import load_case
from opkit.generate import generate
from opkit.train import train

SMALL = ["model.hidden_channels=12", "subsample=1", "training.batch_size=10"]


@pytest.fixture(scope="session")
def darcy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FNO for log-normal Darcy flow on 17x17 nodes; better than the mean."""
    folder = tmp_path_factory.mktemp("darcy")
    case = load_case("darcy-lognormal", ("resolution=17", *_samples(100, 20, 24)))
    generate(case, folder / "data.h5", seed=1)
    settings = [
        *SMALL,
        "model.n_modes=[8, 8]",
        "training.epochs=10",
        "training.learning_rate=5e-3",
        "training.schedule=onecycle",
    ]
    train(folder / "data.h5", folder / "run", operator="fno", overrides=settings)
    return folder / "run"


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FNO from initial vorticity to that at t = 2, Navier-Stokes on 16x16 points."""
    folder = tmp_path_factory.mktemp("flow")
    changes = ("solver.parameters.records=2", "solver.parameters.record_interval=1")
    case = load_case(
        "navier-stokes", ("resolution=16", *changes, *_samples(100, 16, 16))
    )
    generate(case, folder / "data.h5", seed=1)
    settings = [
        *SMALL,
        "mode=map",
        "history=1",
        "model.n_modes=[8, 8]",
        "training.epochs=15",
        "training.learning_rate=5e-3",
        "training.schedule=onecycle",
    ]
    train(folder / "data.h5", folder / "run", operator="fno", overrides=settings)
    return folder / "run"


@pytest.fixture(scope="session")
def eddies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FNO that steps quasi-geostrophic flow on 16x16 points by five days."""
    folder = tmp_path_factory.mktemp("eddies")
    changes = (
        "resolution=16",
        "solver.parameters.records=4",
        "solver.parameters.deformation_radius=60000",
        "distribution.grid=16",
        "distribution.spin_up=8640000",
    )
    case = load_case("quasi-geostrophic", (*changes, *_samples(40, 8, 8)))
    generate(case, folder / "data.h5", seed=1)
    settings = [
        *SMALL,
        "model.n_modes=[8, 8]",
        "training.epochs=6",
        "training.unroll=1",
        "training.learning_rate=5e-3",
    ]
    train(folder / "data.h5", folder / "run", operator="fno", overrides=settings)
    return folder / "run"


def _samples(train: int, validation: int, test: int) -> tuple[str, ...]:
    numbers = {"train": train, "validation": validation, "test": test}
    return tuple(f"samples.{split}={count}" for split, count in numbers.items())
