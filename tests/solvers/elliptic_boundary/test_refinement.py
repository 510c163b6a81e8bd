"""Data solved on finer cells and restricted come closer to the PDE."""

import numpy as np
import pytest

from opkit.solvers.elliptic_boundary import EllipticBoundary
from opkit.solvers.elliptic_boundary.laws import CornerCuts


@pytest.mark.parametrize("condition", ["dirichlet", "neumann", "mixed"])
def test_refined_solutions_converge_and_are_their_own_residual(condition):
    law = CornerCuts(condition=condition)
    solvers = {
        r: EllipticBoundary(resolution=(16, 16), distribution=law, refinement=r)
        for r in (1, 2, 4, 16)
    }
    sample = solvers[1].sample(np.random.default_rng(0))
    inputs = {name: values[None] for name, values in sample.items()}
    u = {r: s.solve(inputs).outputs["potential"][0] for r, s in solvers.items()}
    size = np.linalg.norm(u[16])
    errors = [np.linalg.norm(u[r] - u[16]) / size for r in (1, 2, 4)]
    # re-entrant corners have order 4/3, changes of condition 1: factors 2.5 and 2 for
    # each halving of the cells, less where errors of both signs meet
    factor = 1.5 if condition == "mixed" else 1.8
    assert errors[0] > factor * errors[1] > factor**2 * errors[2]
    outputs = {"potential": u[4][None]}
    assert solvers[4].residual(inputs, outputs)[0] < 1e-10
    assert solvers[1].residual(inputs, outputs)[0] > 1e-3


def test_faces_may_start_anywhere():
    solver = EllipticBoundary(resolution=(16, 16), refinement=2)
    sample = solver.sample(np.random.default_rng(1))
    turned = {k: np.roll(v, 5) if v.ndim == 1 else v for k, v in sample.items()}
    u, v = (
        solver.solve({k: a[None] for k, a in s.items()}).outputs["potential"]
        for s in (sample, turned)
    )
    np.testing.assert_allclose(u, v, atol=1e-12)
