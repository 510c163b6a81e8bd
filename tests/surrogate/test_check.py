"""Checks: residual, range, novelty, calibrated bounds, and refusals."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import opkit
from opkit.errors import BundleError, CaseError, MissingExtraError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.checks import CHECKS, conformal
from opkit.surrogate.surrogate import build


def test_residual_is_the_solvers_own_and_zero_for_its_solutions(darcy):
    s = darcy.load()
    a = darcy.permeability[:3]
    checked = s(a, check=True)
    np.testing.assert_array_equal(checked.prediction, s(a))
    solver = opkit.load_case("darcy", ("resolution=17",)).build_solver()
    expected = solver.residual({"permeability": a}, {"pressure": checked.prediction})
    np.testing.assert_allclose(checked.residual, expected, rtol=1e-6)
    exact = torch.from_numpy(darcy.pressure[:3, None])
    verdict = s.checker.judge(Inputs(torch.from_numpy(a[:, None])), exact)
    assert verdict.residual.max() < 1e-5  # rounding of stored float32
    assert (checked.residual > 100 * verdict.residual).all()


@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_stated_coverage_holds_on_the_test_split(darcy, error, coverage):
    s = darcy.load()
    record = s.calibration.record
    assert (record.selection, record.samples) == ("apart", 39)
    checked = s(darcy.permeability, check=True, coverage=coverage)
    errors = error(checked.prediction, darcy.pressure)
    inside = (darcy.pressure >= checked.lower) & (darcy.pressure <= checked.upper)
    points = inside.reshape(len(inside), -1).mean(1)
    # given the calibration samples the coverage is Beta(k, n + 1 - k) distributed, and
    # the count of covered test samples beta-binomial: 1e-3 on each side
    n, m = record.samples, len(errors)
    k = conformal.rank(n, coverage)
    low, high = stats.betabinom.ppf([1e-3, 1 - 1e-3], m, k, n + 1 - k)
    assert low <= (errors <= checked.error_bound).sum() <= high
    assert low <= (points >= 0.95).sum() <= high


def test_inputs_of_the_training_law_resemble_training_and_others_do_not(darcy):
    s = darcy.load()
    checked = s(darcy.permeability, check=True)
    count = len(checked.p_value)
    # p <= 0.1 for the 4 strangest of 40: Beta(4, 36) given the calibration samples
    high = stats.betabinom.ppf(1 - 1e-3, count, 4, 36)
    without = {"spread", "enclosure"}
    assert set(checked.p_values) == {check.name for check in CHECKS} - without
    for p_value in checked.p_values.values():
        assert (p_value <= 0.1).sum() <= high
    assert all(checked.in_range["permeability"])
    for law in ({"high": 20.0}, {"low": 2.0, "high": 12.0}, {"kind": "log-normal"}):
        plain = {"kind": "two-phase", "low": 3.0, "high": 12.0}
        law = law if "kind" in law else plain | law
        settings = ("resolution=17", f"distribution={json.dumps(law)}")
        solver = opkit.load_case("darcy", settings).build_solver()
        rng = np.random.default_rng(5)
        other = np.stack([solver.sample(rng)["permeability"] for _ in range(20)])
        verdict = s(other, check=True)
        assert not verdict.resembles_training().any()
        assert (verdict.p_value == 1 / 40).all()


def test_every_kind_of_array_gets_the_same_verdict(darcy):
    s = darcy.load()
    a = darcy.permeability[:2]
    plain = s(a, check=True)
    axes = {"y": np.linspace(0, 1, 17), "x": np.linspace(0, 1, 17)}
    array = xr.DataArray(a.swapaxes(1, 2), dims=("member", "x", "y"), coords=axes)
    for inputs in (torch.from_numpy(a), {"permeability": a}, array):
        checked = s(inputs, check=True)
        np.testing.assert_allclose(checked.error_bound, plain.error_bound, rtol=1e-6)
        lower = checked.lower
        lower = lower["pressure"] if isinstance(lower, dict) else lower
        assert type(lower) is type(inputs) or isinstance(inputs, dict)
        np.testing.assert_allclose(np.asarray(lower), plain.lower, atol=1e-6)
    one = s(a[0], check=True)
    assert one.prediction.shape == one.upper.shape == (17, 17)
    assert one.error_bound.shape == (1,)


def test_too_high_a_coverage_bounds_nothing_rather_than_wrongly(darcy):
    checked = darcy.load()(darcy.permeability[:2], check=True, coverage=0.99)
    assert np.isinf(checked.error_bound).all()
    assert np.isinf(checked.upper).all()


def test_rollouts_are_bounded_step_by_step(flow):
    s = opkit.load(flow.run)
    record = s.calibration.record
    assert record.selection == "shared" and "optimism" in _card(flow.run)
    checked = s.rollout(flow.permeability, 4, check=True, coverage=0.8)
    assert checked.prediction.shape == checked.upper.shape == (4, 4, 1, 32, 32)
    assert checked.error_bound.shape == (4, 4)
    assert np.isfinite(checked.error_bound).all()
    # errors of rollouts grow, and so do their bounds
    assert (np.diff(checked.error_bound, axis=1) > 0).all()
    beyond = s.rollout(flow.permeability, 5, check=True, coverage=0.8)
    assert np.isinf(beyond.error_bound[:, 4]).all()
    np.testing.assert_allclose(beyond.error_bound[:, :4], checked.error_bound)
    inputs, frames = map(torch.from_numpy, (flow.permeability, flow.pressure))
    true = s.checker.judge(Inputs(inputs), frames)
    # re-advanced from stored float32 frames: the tolerance 1e-3 of the time steps
    assert true.residual.max() < 2e-3 < checked.residual.min()


@pytest.mark.parametrize("growth", [30.0, 1e60])
def test_a_rollout_that_blows_up_has_no_finite_residual(flow, growth):
    # 1e60 leaves float32: then frames are infinite
    s = opkit.load(flow.run)
    inputs, true = map(torch.from_numpy, (flow.permeability, flow.pressure))
    steps = torch.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1)
    states = true.clone()
    states[1:3] *= (growth**steps).float()
    residual = s.checker.judge(Inputs(inputs), states).residual
    plain = s.checker.judge(Inputs(inputs), true).residual
    assert np.isinf(residual[1:3]).all()
    np.testing.assert_array_equal(residual[[0, 3]], plain[[0, 3]])


def _card(run):
    return (run / "bundle" / "card.md").read_text()


def test_the_calibration_survives_the_bundle_and_damage_to_it_is_noticed(
    darcy, tmp_path
):
    config, weights = bundle.read(darcy.run)
    copy = tmp_path / "copy"
    bundle.write(copy, config, weights, "")
    a = darcy.permeability[:2]
    again = opkit.load(copy)(a, check=True)
    np.testing.assert_array_equal(
        again.error_bound, darcy.load()(a, check=True).error_bound
    )
    for name in ("calibration.errors", "calibration.novelty.whiten"):
        less = {k: v for k, v in weights.items() if k != name}
        with pytest.raises(BundleError, match=r"calibration: .* missing"):
            build(config, less)
        with pytest.raises(BundleError, match=r"calibration: .* shape"):
            build(config, weights | {name: weights[name][..., 1:]})


def test_refusals_are_one_clear_line(darcy, monkeypatch):
    s = darcy.load()
    a = darcy.permeability[:2]

    def refused(kind, match, surrogate=s, inputs=a, **options):
        with pytest.raises(kind, match=match) as caught:
            surrogate(inputs, check=True, **options)
        assert "\n" not in str(caught.value)

    refused(OpkitInputError, "between 0 and 1", coverage=95)
    with pytest.warns(UserWarning, match="never measured"):
        refused(OpkitInputError, "calibrated on", inputs=np.full((33, 33), 3.0))
    config, weights = bundle.read(darcy.run)
    own = {k: v for k, v in weights.items() if not k.startswith("calibration.")}
    bare = build(config.model_copy(update={"calibration": None}), own)
    refused(BundleError, "no calibration", bare)
    case = {**config.case, "solver": {"target": "elsewhere:Solver"}}
    foreign = build(config.model_copy(update={"case": case}), weights)
    refused(CaseError, "elsewhere:Solver", foreign)

    def missing(self):
        raise MissingExtraError('dolfinx is not installed: pip install "opkit[fem]"')

    monkeypatch.setattr("opkit.case.Case.build_solver", missing)
    refused(MissingExtraError, r"opkit\[fem\]", darcy.load())


def test_records_do_not_change_by_accident(darcy):
    checked = darcy.load()(darcy.permeability[:2], check=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        checked.coverage = 0.5
