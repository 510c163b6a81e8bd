"""Falling back to the solver: the tolerance holds, the record says what was done."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import opkit
from opkit.errors import (
    CaseError,
    MissingExtraError,
    NotConvergedError,
    OpkitInputError,
)
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.checks import fallback
from opkit.surrogate.surrogate import build

DATA = Path(__file__).parents[1] / "data"


def test_a_tolerance_holds_for_mixed_inputs(darcy, error):
    s = darcy.load()
    solver = s.checker.context.case_solver.solver
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
    # violations: at most the 5 % of the first inputs that the bound leaves out; their
    # number is beta-binomial given 39 calibration samples: the 38th gives the bound
    most = stats.betabinom.ppf(1 - 1e-3, 360, 2, 38)
    assert (errors > tolerance).sum() <= most
    # solved to a thousandth of the tolerance in energy, times the root of the contrast
    assert errors[~accepted].max() < tolerance / 50


def test_a_prediction_saves_iterations_and_the_estimate_is_right(darcy):
    s = darcy.load()
    a = darcy.permeability[:40]
    result = s.solve(a, tolerance=1e-4)
    assert (result.action == "refined").all()
    solver = dataclasses.replace(s.checker.context.case_solver.solver, rtol=1e-7)
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
    loose = s.solve(flow.permeability, 1e9, steps=4, coverage=0.8, significance=0.0)
    accepted = loose.action == "accepted"
    predicted = s.rollout(flow.permeability, 4)
    np.testing.assert_array_equal(loose.outputs[accepted], predicted[accepted])


def test_a_rollout_that_blows_up_is_not_accepted_at_any_tolerance(flow, error):
    s = opkit.load(flow.run)
    steps = torch.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1)

    def predict(x):
        states = torch.from_numpy(flow.pressure).clone()
        states[1:3] *= 30.0**steps
        return states

    options = {"steps": 4, "coverage": 0.8, "significance": 0.0}
    alone = s.solve(flow.permeability, 1e9, **options).action
    result = fallback.solve(s.checker, predict, flow.permeability, 1e9, **options)
    assert (result.action[1:3] == "solved").all()
    assert (result.action[[0, 3]] == alone[[0, 3]]).all()
    assert error(result.outputs, flow.pressure).max() < 5e-3


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
def test_a_tolerance_is_not_negative(darcy, tolerance):
    with pytest.raises(OpkitInputError, match="positive"):
        darcy.load().solve(darcy.permeability[:1], tolerance)


@pytest.mark.parametrize("options", [{}, {"tolerance": 0.1, "exact": True}])
def test_either_a_tolerance_or_the_exact_answer(darcy, options):
    with pytest.raises(OpkitInputError, match="either a tolerance or exact=True"):
        darcy.load().solve(darcy.permeability[:1], **options)


@pytest.mark.parametrize("options", [{"tolerance": 0}, {"exact": True}])
def test_the_exact_answer_starts_from_every_prediction(darcy, options):
    s = darcy.load()
    a = darcy.permeability[:20]
    result = s.solve(a, **options)
    assert (result.action == "refined").all()
    solver = s.checker.context.case_solver.solver
    cold = solver.solve({"permeability": a})
    # the solver's own tolerance, 1e-8, in energy; contrast 4 leaves twice that twice
    np.testing.assert_allclose(result.outputs, cold.outputs["pressure"], atol=4e-8)
    saved = cold.details["iterations"] - result.iterations
    assert saved.sum() >= 10 and saved.min() >= 0


def wild(s, factor):
    """Predictions that are off by a factor, or not finite."""
    return lambda x: s.predict(x) * factor


@pytest.mark.parametrize("factor", [-3.0, float("nan"), float("inf")])
def test_a_guess_that_does_not_help_is_dropped(darcy, factor):
    s, a = darcy.load(), darcy.permeability[:4]
    result = fallback.solve(s.checker, wild(s, factor), a, 0)
    assert (result.action == "solved").all()
    solver = s.checker.context.case_solver.solver
    cold = solver.solve({"permeability": a})
    np.testing.assert_array_equal(result.iterations, cold.details["iterations"])
    np.testing.assert_allclose(result.outputs, cold.outputs["pressure"], rtol=1e-6)
    if np.isfinite(factor):  # and the solver drops it by itself
        guess = {"pressure": factor * np.asarray(s(a), np.float64)}
        warm = solver.solve_from({"permeability": a}, guess)
        np.testing.assert_array_equal(
            warm.outputs["pressure"], cold.outputs["pressure"]
        )


def test_a_solver_that_fails_from_a_prediction_starts_from_nothing(
    darcy, error, monkeypatch
):
    s, a = darcy.load(), darcy.permeability[:4]
    solver = s.checker.context.case_solver.solver
    own = type(solver).solve_from

    def picky(self, inputs, guess):
        if any(np.array_equal(x, a[2]) for x in inputs["permeability"]):
            raise NotConvergedError("not from there")
        return own(self, inputs, guess)

    monkeypatch.setattr(type(solver), "solve_from", picky)
    result = s.solve(a, exact=True)
    assert result.action.tolist() == ["refined", "refined", "solved", "refined"]
    assert (
        error(
            result.outputs, solver.solve({"permeability": a}).outputs["pressure"]
        ).max()
        < 1e-6
    )


def test_a_tolerance_below_the_grids_own_error_is_refused(darcy):
    s = darcy.load()
    record = s.calibration.record.model_copy(update={"solver_error": 0.02})
    s.calibration = dataclasses.replace(s.calibration, record=record)
    with pytest.raises(OpkitInputError, match="subsample=1"):
        s.solve(darcy.permeability[:1], 0.01)


def foreign(folder, **calibration):
    """A surrogate whose case names a solver that is not there."""
    config, weights = bundle.read(folder)
    case = {**config.case, "solver": {"target": "elsewhere:Solver"}}
    record = config.calibration.model_copy(update=calibration)
    changed = config.model_copy(update={"case": case, "calibration": record})
    return build(changed, weights)


def test_a_solver_is_needed_only_where_a_prediction_will_not_do(darcy):
    golden = DATA / "golden" / "bundles" / "fno"
    with np.load(golden / "prediction.npz") as stored:
        inputs = stored["inputs/permeability"]
    s, same = foreign(golden), opkit.load(golden)
    result = s.solve(inputs, 1e9, coverage=0.5)
    assert (result.action == "accepted").all() and result.verdict.residual is None
    np.testing.assert_array_equal(result.outputs, same(inputs))
    both = same.solve(inputs, 1e9, coverage=0.5)
    np.testing.assert_array_equal(result.verdict.error_bound, both.verdict.error_bound)
    strange = np.concatenate([inputs, 5 * inputs[:1]])
    with pytest.raises(CaseError, match=r"^1 of 3 predictions .* no solver.*elsewhere"):
        s.solve(strange, 1e9, coverage=0.5)
    # bounds that follow the residual cannot be had without one
    powers = {**darcy.load().calibration.record.powers, "residual": 1.0}
    needy = foreign(darcy.run, powers=powers)
    with pytest.raises(CaseError, match=r"need its residual.*elsewhere") as caught:
        needy.solve(darcy.permeability[:2], 1e9)
    assert "\n" not in str(caught.value)


def test_imported_data_have_no_solver_and_may_not_need_one():
    folder = DATA / "bundles" / "0.1.0-format3"
    with np.load(folder / "prediction.npz") as stored:
        inputs = stored["inputs"]
    s = opkit.load(folder)
    similar = s(inputs, check=True, coverage=0.5).resembles_training(0)
    result = s.solve(inputs[similar], 1e9, coverage=0.5, significance=0)
    assert (result.action == "accepted").all()
    with pytest.raises(CaseError, match="imported data name no case"):
        s.solve(inputs, 1e-9)


def test_a_solver_that_is_not_installed_is_named_with_its_extra(darcy, monkeypatch):
    def missing(self):
        raise MissingExtraError('dolfinx is not installed: pip install "opkit[fem]"')

    monkeypatch.setattr("opkit.case.Case.build_solver", missing)
    record = darcy.load().calibration.record
    s = foreign(darcy.run, powers=dict.fromkeys(record.powers, 0.0))
    with pytest.raises(MissingExtraError, match=r"3 of 3 .*opkit\[fem\]"):
        s.solve(darcy.permeability[:3], 1e-9)
