"""Surrogates with random weights, and the data they are compared on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from opkit.case.recipe import Recipe
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.write import LIBVER, Writer
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.build import model_of_record
from opkit.surrogate.bundle.record import BundleConfig, Channels, Provenance, Shape

SIZE, COUNT, FRAMES = 18, 4, 4


def write_data(
    path: Path, static: bool = False, timed: bool = False, size: int = SIZE
) -> Path:
    """Smooth random fields of order 1e3 with mean 5e3, as pressures in SI units are."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, size)
    modes = np.cos(np.pi * np.arange(5)[:, None] * x)

    def draw(*lead: int) -> np.ndarray:
        weights = rng.normal(size=(*lead, 5, 5))
        fields = np.einsum("...kl,ky,lx->...yx", weights, modes, modes)
        return (5e3 + 1e3 * fields).astype(np.float32)

    grid = ("y", "x")
    if timed:
        variables = [
            VariableSpec("initial_wave", "input", grid, (size, size)),
            VariableSpec(
                "wave", "output", ("time", *grid), (FRAMES, size, size), units="m2"
            ),
        ]
        waves = draw(COUNT, FRAMES)
        fields = {"initial_wave": waves[:, 0], "wave": waves}
        if static:
            variables.append(VariableSpec("speed", "input", grid, (size, size)))
            fields["speed"] = draw(COUNT)
    else:
        variables = [
            VariableSpec("permeability", "input", grid, (size, size), units="m2"),
            VariableSpec("pressure", "output", grid, (size, size), units="Pa"),
        ]
        fields = {"permeability": draw(COUNT), "pressure": draw(COUNT)}
    axes = {"y": Axis(x), "x": Axis(x)}
    if timed:
        axes["time"] = Axis(np.arange(FRAMES) * 1.0)
    header = Header(
        case={},
        variables=tuple(variables),
        coordinates=axes,
        splits={"train": np.arange(1), "test": np.arange(1, COUNT)},
    )
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(slice(0, COUNT), np.arange(COUNT), fields)
        writer.finish()
    return path


def write_bundle(
    provenance: Provenance,
    folder: Path,
    operator: str,
    options: dict[str, Any],
    history: int = 0,
    static: int = 0,
) -> Path:
    """A bundle of random weights, with normalisers that matter."""
    config = BundleConfig(
        operator=operator,
        options=options,
        shape=Shape(
            in_channels=max(history, 1) + static,
            out_channels=1,
            shape=(SIZE, SIZE),
            periodic=(False, False),
            extent=(1.0, 1.0),
        ),
        axes=("y", "x"),
        inputs=(
            Channels(
                name="wave" if history else "permeability", units="m2", channels=1
            ),
        ),
        outputs=(
            Channels(
                name="wave" if history else "pressure",
                units="m2" if history else "Pa",
                channels=1,
            ),
        ),
        static_channels=static,
        case={},
        recipe=Recipe(
            operator=operator,
            mode="autoregressive" if history else "map",
            history=max(history, 1),
        ),
        provenance=provenance,
    )
    torch.manual_seed(0)
    model = model_of_record(config)
    if hasattr(model.operator, "prepare"):
        model.operator.prepare({"outputs": torch.randn(40, 1, SIZE, SIZE)})
    for normaliser in (model.inputs, model.outputs, model.static):
        if normaliser is not None:
            normaliser.mean.fill_(5e3)
            normaliser.std.fill_(1e3)
    for part in model.modules():  # statistics that a trained model would have
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
            torch.nn.init.normal_(part.running_mean)
    bundle.write(folder, config, model.state_dict(), "")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("export") / "data.h5")


@pytest.fixture(scope="session")
def bundles(provenance: Callable[..., Provenance]) -> Callable[..., Path]:
    return partial(write_bundle, provenance())


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    return write_data
