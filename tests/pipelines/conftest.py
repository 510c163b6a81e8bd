"""Small trained runs that the tests of reports and pipelines share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opkit.case import load_case
from opkit.generate import generate
from opkit.train import train

Make = Callable[[str, tuple[str, ...], tuple[int, int, int], tuple[str, ...]], Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make data of a case, with so many samples a split, and train an FNO on them."""

    def make(
        name: str,
        changes: tuple[str, ...],
        sizes: tuple[int, int, int],
        settings: tuple[str, ...],
    ) -> Path:
        folder = tmp_path_factory.mktemp(name)
        splits = zip(("train", "validation", "test"), sizes, strict=True)
        counts = (f"samples.{split}={count}" for split, count in splits)
        data = generate(load_case(name, (*changes, *counts)), folder / "data.h5", 1)
        small = (
            "model.n_modes=[8, 8]",
            "model.hidden_channels=12",
            "subsample=1",
            "training.batch_size=10",
            "training.learning_rate=5e-3",
        )
        train(data, folder / "run", operator="fno", overrides=(*small, *settings))
        return folder / "run"

    return make


@pytest.fixture(scope="session")
def darcy(trained: Make) -> Path:
    """An FNO for log-normal Darcy flow on 17x17 nodes; better than the mean."""
    settings = ("training.epochs=10", "training.schedule=onecycle")
    return trained("darcy-lognormal", ("resolution=17",), (100, 20, 24), settings)


@pytest.fixture(scope="session")
def flow(trained: Make) -> Path:
    """An FNO from initial vorticity to that at t = 2, Navier-Stokes on 16x16 points."""
    changes = (
        "resolution=16",
        "solver.parameters.records=2",
        "solver.parameters.record_interval=1",
    )
    settings = (
        "mode=map",
        "history=1",
        "training.epochs=15",
        "training.schedule=onecycle",
    )
    return trained("navier-stokes", changes, (100, 16, 16), settings)


@pytest.fixture(scope="session")
def eddies(trained: Make) -> Path:
    """An FNO that steps quasi-geostrophic flow on 16x16 points by five days."""
    changes = (
        "resolution=16",
        "solver.parameters.records=4",
        "solver.parameters.deformation_radius=60000",
        "distribution.grid=16",
        "distribution.spin_up=8640000",
    )
    settings = ("training.epochs=6", "training.unroll=1")
    return trained("quasi-geostrophic", changes, (40, 8, 8), settings)
