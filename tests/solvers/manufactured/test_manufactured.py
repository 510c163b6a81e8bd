"""The manufactured case: exact, reproducible, consistent with its own fields."""

import numpy as np
import pytest

from opkit.case import load_case
from opkit.errors import CaseError, OpkitInputError
from opkit.solvers.manufactured.solver import COEFFICIENTS, Manufactured


def sample(solver, seed=0, count=4):
    rngs = (
        np.random.default_rng(np.random.SeedSequence([seed, i])) for i in range(count)
    )
    drawn = [solver.sample(rng) for rng in rngs]
    return {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}


def test_solutions_satisfy_their_equation_on_the_grid():
    distribution = {
        "kind": "manufactured",
        "frequency": 2,
        "min_steps": 2,
        "max_steps": 4,
    }
    solver = Manufactured(resolution=(129, 129), distribution=distribution)
    inputs = sample(solver, count=6)
    u = solver.solve(inputs).outputs["u"]
    h = 2 / 128
    c = np.stack([inputs[name] for name in COEFFICIENTS])[..., None, None]
    inner = u[:, 1:-1, 1:-1]
    applied = (
        c[0] * inner
        + c[1] * (u[:, 1:-1, 2:] - u[:, 1:-1, :-2]) / (2 * h)
        + c[2] * (u[:, 2:, 1:-1] - u[:, :-2, 1:-1]) / (2 * h)
        + c[3] * (u[:, 1:-1, 2:] - 2 * inner + u[:, 1:-1, :-2]) / h**2
        + c[4] * (u[:, 2:, 1:-1] - 2 * inner + u[:, :-2, 1:-1]) / h**2
    )
    off = np.abs(applied - inputs["source"][:, 1:-1, 1:-1]).mean((1, 2))
    scale = np.abs(inputs["source"]).mean((1, 2))
    # Second order: (h k)² / 12 with wave numbers k up to about 10 gives 2e-3.
    assert (off / scale).max() < 2e-2
    assert np.median(off / scale) < 2e-3


def test_the_same_seed_gives_the_same_problem_and_others_differ():
    solver = load_case("manufactured").build_solver()
    first, again, other = sample(solver), sample(solver), sample(solver, seed=1)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["source"], other["source"])


def test_batches_do_not_matter_and_residuals_measure_the_distance():
    solver = load_case("manufactured").build_solver()
    inputs = sample(solver)
    u = solver.solve(inputs).outputs["u"]
    alone = solver.solve({k: v[2:3] for k, v in inputs.items()}).outputs["u"]
    np.testing.assert_array_equal(u[2], alone[0])
    assert (solver.residual(inputs, {"u": u}) == 0).all()
    np.testing.assert_allclose(solver.residual(inputs, {"u": 1.1 * u}), 0.1)


def test_fields_that_do_not_belong_together_are_refused():
    solver = load_case("manufactured").build_solver()
    inputs = sample(solver)
    inputs["draw_low"] = np.roll(inputs["draw_low"], 1)
    with pytest.raises(OpkitInputError, match="not that of its draw"):
        solver.solve(inputs)


def test_bad_distributions_name_the_remedy():
    case = load_case("manufactured", ("distribution.max_steps=3",))
    with pytest.raises(CaseError, match="exchange"):
        case.build_solver()
