"""Newton's method with load steps and guesses, on equations with known solutions."""

import numpy as np
import pytest

from opkit.errors import NotConvergedError
from opkit.solvers.fem import newton
from opkit.solvers.fem.newton import Numerics, solve


class Equation:
    """f(x; t) = 0 for one number x, with its derivative in x."""

    def __init__(self, f, slope, floor=-np.inf) -> None:
        self.f, self.slope, self.floor = f, slope, floor
        self.derivative = 0.0

    def residual(self, x, load):
        return abs(self.f(x[0], load)) if x[0] > self.floor else np.inf

    def correction(self, x, load, factorise):
        if factorise:
            self.derivative = self.slope(x[0], load)
        return -np.array([self.f(x[0], load)]) / self.derivative

    def label(self, load):
        return f"load {load:.4f}"


ZERO = np.zeros(1)
CUBIC = Equation(lambda x, t: x + 10 * x**3 - 30 * t, lambda x, t: 1 + 30 * x**2)


def test_a_fold_names_the_last_load_reached() -> None:
    """x² = 1 - 2t has no solution beyond t = 1/2."""
    fold = Equation(lambda x, t: x**2 - 1 + 2 * t, lambda x, t: 2 * x)
    with pytest.raises(NotConvergedError, match="last load reached") as caught:
        solve(fold, np.ones(1), np.ones(1), Numerics(load_steps=3))
    reached = float(str(caught.value).split("reached is load ")[1].split(",")[0])
    # no farther than the fold, up to the path's loose tolerance, and near it
    assert 0.4 < reached < 0.5 + 0.01


def test_a_start_without_solution_is_said() -> None:
    nothing = Equation(lambda x, t: x**2 + 1, lambda x, t: 2 * x)
    with pytest.raises(NotConvergedError, match="where the path of loads starts"):
        solve(nothing, np.array([0.3]), ZERO, Numerics())


@pytest.mark.parametrize("steps", [1, 4])
def test_the_path_ends_at_the_solution(steps: int) -> None:
    state = solve(CUBIC, ZERO, ZERO, Numerics(tolerance=1e-12, load_steps=steps))
    root = np.roots([10, 0, 1, -30])
    exact = root[np.isreal(root)].real[0]
    # |dx| = |f| / f' and f' > 60 here
    assert state.x[0] == pytest.approx(exact, abs=1e-12 / 60 + 1e-15)
    assert state.start == "cold" and state.residual <= 1e-12
    assert state.count.factorisations <= state.count.linear_solves


def test_a_good_guess_saves_solves() -> None:
    cold = solve(CUBIC, ZERO, ZERO, Numerics())
    warm = solve(CUBIC, ZERO, ZERO, Numerics(), guess=1.01 * cold.x)
    assert warm.start == "guess"
    assert warm.count.linear_solves < cold.count.linear_solves
    assert warm.count.factorisations == 1
    exact = solve(CUBIC, ZERO, ZERO, Numerics(), guess=cold.x)
    assert exact.count.linear_solves == 0


@pytest.mark.parametrize("guess", [1e6, -1e3, np.nan])
def test_a_bad_guess_costs_little(guess: float) -> None:
    cold = solve(CUBIC, ZERO, ZERO, Numerics())
    bad = solve(CUBIC, ZERO, ZERO, Numerics(), guess=np.array([guess]))
    assert bad.x[0] == pytest.approx(cold.x[0], rel=1e-9)
    assert bad.start != "guess"
    # a correction to see whether it helps, and Newton's two slow ones at most
    extra = 3 if bad.start == "cold after guess" else 0
    assert bad.count.linear_solves <= cold.count.linear_solves + extra + 3


def test_a_guess_on_another_branch_is_not_accepted() -> None:
    """x (x - 1) (x - 3) + small: the path from 0 stays near 0."""
    branches = Equation(
        lambda x, t: x * (x - 1) * (x - 3) - 0.1 * t,
        lambda x, t: 3 * x**2 - 8 * x + 3,
    )
    cold = solve(branches, ZERO, ZERO, Numerics())
    guess = np.array([3.001])
    there = solve(branches, ZERO, ZERO, Numerics(), guess=guess)
    assert there.x[0] > 2.9
    back = solve(
        branches, ZERO, ZERO, Numerics(), guess=guess, accept=lambda x: x[0] < 0.5
    )
    assert back.start == "cold after guess"
    assert back.x[0] == pytest.approx(cold.x[0], rel=1e-9)


def test_the_line_search_keeps_inside_the_domain() -> None:
    """log x = -5 t from x = 1: full steps leave x > 0."""
    log = Equation(
        lambda x, t: np.log(max(x, 1e-300)) + 5 * t, lambda x, t: 1 / x, floor=0.0
    )
    state = solve(log, np.ones(1), np.ones(1), Numerics(tolerance=1e-12, load_steps=1))
    assert state.x[0] == pytest.approx(np.exp(-5), rel=1e-11)


def test_the_update_learns_what_the_factorisation_lacks() -> None:
    """A x = b by chords with A + u vᵀ: J off by rank 1, two updates do (Gay)."""
    rng = np.random.default_rng(0)
    A = np.eye(6) + 0.1 * rng.normal(size=(6, 6))
    u, v, b = rng.normal(size=(3, 6)) * np.array([[0.3], [0.5], [1.0]])
    exact = np.linalg.solve(A, b)
    errors = []
    for learns in (True, False):
        x, steps = np.zeros(6), []
        for _ in range(4):
            dx = np.linalg.solve(A + np.outer(u, v), b - A @ x)
            dx = newton._updated(dx, steps) if learns else dx
            steps.append(dx)
            x = x + dx
        errors.append(np.linalg.norm(x - exact) / np.linalg.norm(exact))
    assert errors[0] < 1e-12
    assert errors[1] > 1e-6
