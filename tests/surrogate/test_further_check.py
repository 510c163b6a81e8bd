"""A check that opkit does not have: a class and its place in the list are enough."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor

import opkit
from opkit.datasets.read import DataFile
from opkit.errors import BundleError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.checks import CHECKS
from opkit.surrogate.checks.calibration import PREFIX, Calibration
from opkit.surrogate.checks.interface import (
    Context,
    Pairs,
    Reading,
    refuse_names,
    refuse_shape,
)
from opkit.train import train
from opkit.train.fields import calibrate


@dataclass(frozen=True)
class Overshoot:
    """How far the mean of a prediction is from that of the training outputs.

    Args:
        mean: (channel,).
    """

    name: ClassVar[str] = "overshoot"
    of_input: ClassVar[bool] = False
    powers: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    mean: Tensor

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        means = [pairs.outputs.flatten(2).mean(2) for pairs in samples]
        return cls(torch.cat(means).mean(0).double())

    def score(self, pairs: Pairs) -> Reading:
        off = pairs.outputs.flatten(2).mean(2).double() - self.mean
        return Reading(off.abs().amax(1).numpy())

    def describe(self) -> str:
        return "distance of the mean from that of the training outputs"

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    @classmethod
    def from_tensors(cls, context: Context, tensors: Mapping[str, Tensor]) -> Self:
        refuse_names(tensors, ("mean",), "overshoot.")
        refuse_shape(tensors["mean"], (1,), "overshoot.mean")
        return cls(tensors["mean"])


@pytest.fixture
def listed(monkeypatch):
    for module in (calibrate, opkit.surrogate.checks.calibration):
        monkeypatch.setattr(module, "CHECKS", (*CHECKS, Overshoot))


def test_a_further_check_is_fitted_stored_and_read(
    listed, tmp_path, make_data, monkeypatch
):
    data = make_data(train=24, validation=8)
    settings = ["training.epochs=1"]
    run = train(data, tmp_path / "run", operator="fno", overrides=settings).run
    s = opkit.load(run)
    assert (
        "Check overshoot: distance of the mean"
        in (run / "bundle" / "card.md").read_text()
    )
    x = torch.randn(3, 1, 16, 16)
    checked = s(x, check=True, coverage=0.5)
    with DataFile(data) as file:
        true = file.read("solution", file.indices("train")).mean(dtype=float)
    expected = abs(s(x).double().flatten(1).mean(1) - true)
    # float32 sums over 256 points
    np.testing.assert_allclose(checked.readings["overshoot"], expected, rtol=1e-5)
    assert checked.p_values["overshoot"].shape == (3,)
    # no solver is known, and an FNO has no deviation
    others = {check.name for check in CHECKS} - {"residual", "enclosure", "spread"}
    assert set(checked.readings) == {*others, "overshoot"}
    # an opkit without the check says so
    monkeypatch.undo()
    with pytest.raises(BundleError, match=r"check 'overshoot'.*upgrade"):
        opkit.load(run)


def test_bundles_from_before_a_check_do_without_it(listed, darcy):
    checked = darcy.load()(darcy.permeability[:2], check=True)
    without = {"spread", "enclosure"}
    assert set(checked.readings) == {check.name for check in CHECKS} - without


def test_a_scale_may_follow_any_reading(darcy):
    s = darcy.load()
    record = s.calibration.record.model_copy(
        update={"powers": {"residual": 0.5, "novelty": 1.0, "range": 0.0}}
    )
    s.calibration = replace(s.calibration, record=record)
    verdict = s(darcy.permeability[:4], check=True)
    expected = verdict.residual**0.5 * verdict.novelty
    np.testing.assert_allclose(verdict.scale, expected, rtol=1e-12)


def test_what_blew_up_in_calibration_still_makes_a_bundle(darcy, tmp_path):
    s = darcy.load()
    c = s.calibration
    errors = c.errors.copy()
    errors[:, -3:] = np.inf, np.inf, np.nan
    scores = {**c.scores, "residual": np.append(c.scores["residual"][1:], np.inf)}
    blown = replace(c, errors=errors, scores=scores)
    config, weights = bundle.read(darcy.run)
    own = {k: t for k, t in weights.items() if not k.startswith(PREFIX)}
    bundle.write(tmp_path / "b", config, own | blown.tensors(), "")
    again = opkit.load(tmp_path / "b")
    a = darcy.permeability[:2]
    with np.errstate(over="ignore"):
        wide = again(a, check=True, coverage=0.95).error_bound
    assert (wide > 1e300).all()
    narrow = again(a, check=True, coverage=0.8).error_bound
    np.testing.assert_array_equal(narrow, s(a, check=True, coverage=0.8).error_bound)
    infinite = again.calibration.p_values({"residual": np.array([np.inf])})
    assert infinite["residual"] == 2 / (c.record.samples + 1)
    assert isinstance(again.calibration, Calibration)
