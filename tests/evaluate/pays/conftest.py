"""A surrogate of the toy solver, and a clock that counts its sweeps."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import opkit
from opkit.case.record import parse_case
from opkit.evaluate.pays import Pays, clock, measure
from opkit.generate import generate
from opkit.surrogate.surrogate import Surrogate
from opkit.train import train

PLUGIN = Path(__file__).parents[2] / "plugin"
CASE: dict[str, Any] = {
    "name": "toy-relax",
    "version": 1,
    "title": "A string under a load",
    "equation": "-u'' = f",
    "solver": {"target": "toy_relax:Relax"},
    "geometry": {"extent": {"x": [0, 1]}},
    "resolution": 15,
    "boundary": {},
    "inputs": [{"name": "load", "dims": ["x"], "units": "1"}],
    "outputs": [{"name": "sag", "dims": ["x"], "units": "1"}],
    "samples": {"train": 60, "validation": 10, "test": 12},
}
SETTINGS = (
    "model.n_modes=[8]",
    "model.hidden_channels=12",
    "model.n_layers=2",
    "training.epochs=30",
    "training.learning_rate=1e-2",
    "training.batch_size=20",
)
OWN = 5.0
"""Sweeps that an answer of the surrogate takes, by definition of the clock."""


@pytest.fixture(scope="module")
def plugin() -> Iterator[Any]:
    """The toy solvers, installed here and in worker processes."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.syspath_prepend(str(PLUGIN))
        importlib.invalidate_caches()
        yield importlib.import_module("toy_relax")
        sys.modules.pop("toy_relax", None)


@pytest.fixture(scope="module")
def relax(plugin: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose surrogate is a few per cent off."""
    folder = tmp_path_factory.mktemp("relax")
    data = generate(parse_case(CASE), folder / "data.h5")
    train(data, folder / "run", operator="fno", overrides=SETTINGS, device="cpu")
    return folder / "run"


@pytest.fixture
def load(relax: Path) -> Callable[..., Surrogate]:
    """Load the surrogate with other facts in its record."""

    def make(flags: tuple[str, ...] = (), **provenance: Any) -> Surrogate:
        loaded = opkit.load(relax)
        made = loaded.config.provenance.model_copy(update=provenance)
        loaded.config = loaded.config.model_copy(
            update={"flags": flags, "provenance": made}
        )
        return loaded

    return make


@pytest.fixture
def count(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pays]:
    """Measure with a clock on which a sweep takes a second, and a prediction `OWN`."""
    own = [0.0]
    predict = Surrogate.predict

    def slow(self: Surrogate, inputs: Any, steps: int = 1) -> Any:
        own[0] += OWN * len(inputs.fields)
        return predict(self, inputs, steps)

    def seconds() -> float:
        return own[0] + plugin.SWEEPS[0]

    def run(loaded: Surrogate, budget: float = 1e9, **options: Any) -> Pays:
        return measure(loaded, budget=budget, **options)

    monkeypatch.setattr(Surrogate, "predict", slow)

    def watch(budget: float, _: clock.Clock) -> clock.Stopwatch:
        return clock.Stopwatch(budget, seconds)

    monkeypatch.setattr("opkit.evaluate.pays.measurement.Stopwatch", watch)
    return run


@pytest.fixture
def solver(
    plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Callable[[], Any]]:
    """Replace the case's solver by one of another kind or with other parameters."""

    def use(kind: str = "Relax", **parameters: Any) -> Any:
        made = vars(plugin)[kind](resolution=(15,), **parameters)
        monkeypatch.setattr("opkit.case.record.Case.build_solver", lambda self: made)
        return made

    return use


@pytest.fixture
def sweeps(plugin: Any) -> Callable[..., float]:
    """Sweeps of one sample of the test split to a tolerance, from nothing."""

    def needed(fields: np.ndarray, rtol: float) -> np.ndarray:
        tool = dataclasses.replace(plugin.Relax(resolution=(15,)), rtol=rtol)
        before = plugin.SWEEPS[0]
        counts = tool.solve({"load": fields.astype(np.float64)}).details["iterations"]
        plugin.SWEEPS[0] = before
        return np.asarray(counts)

    return needed
