"""Falling back to the solver: the tolerance holds, the record says what was done."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

import opkit
from opkit.errors import OpkitInputError


def test_a_tolerance_holds_for_mixed_inputs(darcy, error):
    s = darcy.load()
    solver = s.checker.physics.solver
    law = dataclasses.replace(solver, distribution={"kind": "log-normal"})
    rng = np.random.default_rng(3)
    strange = np.stack([law.sample(rng)["permeability"] for _ in range(40)])
    inputs = np.concatenate([darcy.permeability[:360], strange])
    truth = solver.solve({"permeability": inputs}).outputs["pressure"]
    tolerance = float(np.median(s(inputs, check=True).error_bound))
    result = s.solve(inputs, tolerance)
    errors = error(result.outputs, truth)
    accepted = result.action == "accepted"
    assert accepted.sum() > 50
    assert not accepted[360:].any()
    # violations: at most the 5 % of usual inputs that the bound leaves out; the count
    # is beta-binomial given 39 calibration samples, of which the 38th gives the bound
    most = stats.betabinom.ppf(1 - 1e-3, 360, 2, 38)
    assert (errors > tolerance).sum() <= most
    # solved to a thousandth of the tolerance in energy, times the root of the contrast
    assert errors[~accepted].max() < tolerance / 50


def test_a_prediction_saves_iterations_and_the_estimate_is_right(darcy):
    s = darcy.load()
    a = darcy.permeability[:40]
    result = s.solve(a, tolerance=1e-4)
    assert (result.action == "refined").all()
    solver = dataclasses.replace(s.checker.physics.solver, rtol=1e-7)
    cold = solver.solve({"permeability": a}).details["iterations"]
    assert (result.iterations <= cold).all()
    estimate, true = result.saved_iterations.mean(), (cold - result.iterations).mean()
    # conjugate gradients converge unevenly: the estimate is good to a half
    assert estimate == pytest.approx(true, rel=1 / 2)
    assert result.seconds["solve"] > 0


def test_single_fields_and_predictions_worse_than_none(darcy):
    s = darcy.load()
    one = s.solve(darcy.permeability[0], tolerance=10.0)
    assert one.outputs.shape == (17, 17) and one.action.tolist() == ["accepted"]
    assert np.isnan(one.saved_seconds)
    bad = s.solve(np.full((17, 17), 1000.0), tolerance=10.0)
    assert bad.action.tolist() == ["solved"]  # residual above 1, and never seen


def test_rollouts_fall_back_as_a_whole(flow, error):
    s = opkit.load(flow.run)
    frames = s.solve(flow.permeability, 1e-9, steps=4, coverage=0.8)
    assert (frames.action == "solved").all()
    # the solver at rtol 1e-3, from stored float32 frames
    assert error(frames.outputs, flow.pressure).max() < 5e-3
    usual = s.solve(flow.permeability, 1e9, steps=4, coverage=0.8, significance=0.0)
    accepted = usual.action == "accepted"
    predicted = s.rollout(flow.permeability, 4)
    np.testing.assert_array_equal(usual.outputs[accepted], predicted[accepted])


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_must_be_positive(darcy, tolerance):
    with pytest.raises(OpkitInputError, match="positive"):
        darcy.load().solve(darcy.permeability[:1], tolerance)


def test_a_tolerance_below_the_grids_own_error_is_refused(darcy):
    s = darcy.load()
    record = s.calibration.record.model_copy(update={"solver_error": 0.02})
    s.calibration = dataclasses.replace(s.calibration, record=record)
    with pytest.raises(OpkitInputError, match="subsample=1"):
        s.solve(darcy.permeability[:1], 0.01)
