"""Steady flow: exact solutions, orders, conservation, guesses, what is refused."""

import numpy as np
import pytest
from fixtures.grid_samples import batch, complete, draw, solve_one

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.fem.newton import Numerics
from opkit.solvers.fem.quads.fields import relative_l2
from opkit.solvers.fem.quads.grids import QuadGrid, channel_grid
from opkit.solvers.fem.quads.solution import GridSolution
from opkit.solvers.steady_flow.channel_bumps import ChannelBumps
from opkit.solvers.steady_flow.pipe import Pipe

pytestmark = pytest.mark.fem

VELOCITY = ("velocity_x", "velocity_y")
TIGHT = 1e-11
# From a relative residual of TIGHT to an error of the velocity: measured below 100.
SAME = 1e-8


def vector(fields: dict) -> np.ndarray:
    return np.stack([fields[name] for name in VELOCITY])


def channel(**parameters) -> ChannelBumps:
    return ChannelBumps(**{"resolution": (17, 97), "rtol": TIGHT, **parameters})


@pytest.mark.parametrize("inlet", [0.25, 1.0])
def test_a_straight_pipe_is_poiseuille(inlet: float) -> None:
    """u_x = 4 U y (1 - y), p = 8 ν U (10 - x): both in the elements' spaces."""
    solver = Pipe(resolution=(17, 33), inlet=inlet, rtol=1e-12)
    solution = solve_one(solver, {"positions": np.zeros(4), "slopes": np.zeros(5)})
    x, y = solution.points.T
    exact = np.stack([4 * inlet * y * (1 - y), 0 * x])
    np.testing.assert_allclose(vector(solution.fields), exact, atol=1e-10)
    pressure = 8 * 0.005 * inlet * (10 - x)
    np.testing.assert_allclose(solution.fields["pressure"], pressure, atol=1e-10)
    drop = solution.quantities["pressure_drop"]
    assert drop == pytest.approx(80 * 0.005 * inlet, abs=1e-10)


def test_kovasznay_converges_with_the_orders_of_its_elements() -> None:
    """Re = 40: velocity of third, pressure of second order (Kovasznay, 1948)."""
    from opkit.solvers.steady_flow.flow import SteadyFlow

    rate = 20 - np.sqrt(400 + 4 * np.pi**2)
    errors = []
    for n in (8, 16, 32):
        grid = QuadGrid(n, n)
        x = np.linspace(-0.5, 1, 2 * n + 1)
        points = channel_grid(grid, x, 0 * x - 0.5, 0 * x + 1)
        x, y = points.T
        wave = np.exp(rate * x)
        u = np.stack(
            [
                1 - wave * np.cos(2 * np.pi * y),
                rate / (2 * np.pi) * wave * np.sin(2 * np.pi * y),
            ]
        )
        p = (1 - wave**2) / 2
        flow = SteadyFlow(grid, ("first", "last", "low", "high"))
        plain = flow.space.join(u, p[grid.vertices])
        flow.prepare(points, plain, 1 / 40, 1 / 40)
        state = flow.solve(Numerics(1e-10, 1))
        velocity, pressure = flow.space.split(state.x)
        errors.append(
            [
                relative_l2(grid, points, velocity, u),
                relative_l2(grid, points, grid.at_nodes(pressure)[None], p[None]),
            ]
        )
    orders = np.log2(np.array(errors[:-1]) / errors[1:])[-1]
    # a tenth for what is left of higher terms on these meshes
    assert orders[0] > 2.9 and orders[1] > 1.9, (errors, orders)


def test_what_enters_leaves() -> None:
    """∫ ∇·u = 0 since 1 is a test function: exactly, up to the residual reached."""
    rng = np.random.default_rng(0)
    for solver in (Pipe(resolution=(17, 65), rtol=TIGHT), channel()):
        sample = draw(solver, rng)
        solution = solve_one(solver, sample)
        flow = solver._flow(complete(solver, sample))[0]
        fluxes = flow.fluxes(vector(solution.fields))
        assert fluxes[-1] == pytest.approx(fluxes[0], rel=1e-10)
        # in between only as well as the pressure's space tests it
        assert np.abs(fluxes / fluxes[0] - 1).max() < 0.05


def test_a_mirrored_pipe_is_the_same_flow() -> None:
    solver = Pipe(resolution=(17, 49), inlet=1.0, rtol=TIGHT)
    axis = draw(solver, np.random.default_rng(2))
    mirror = {name: -values for name, values in axis.items()}
    one, other = (solve_one(solver, a) for a in (axis, mirror))
    u, v = (vector(s.fields).reshape(2, *solver.grid.shape) for s in (one, other))
    mirrored = np.stack([v[0, :, ::-1], -v[1, :, ::-1]])
    np.testing.assert_allclose(mirrored, u, atol=SAME)


def test_a_flat_channel_does_not_separate_and_a_bump_does() -> None:
    solver = channel(bumps=2)

    def over(height: float, reynolds: float) -> GridSolution:
        sample = {
            "places": np.array([3.0, 9.0]),
            "heights": np.array([height, 0.0]),
            "widths": np.array([0.5, 0.5]),
            "reynolds": np.array(reynolds),
        }
        return solve_one(solver, sample)

    solution = over(0.0, 300.0)
    assert solution.quantities["reattachment"] == 0
    # Poiseuille, mean velocity 1: dp/dx = -12 / Re. A pressure linear in x is not in
    # the space of cells that stretch: second order in their length over the channel's
    drop = solution.quantities["pressure_drop"]
    assert drop == pytest.approx(12 * 12 / 300, rel=(1 / 48) ** 2)
    slow, after = over(0.4, 20.0), over(0.4, 300.0)
    assert 0 <= slow.quantities["reattachment"] < after.quantities["reattachment"]
    assert after.quantities["reattachment"] > 3.5
    assert after.fields["velocity_x"].min() < -0.05


def test_refinement_brings_solutions_together() -> None:
    fine = channel(resolution=(33, 193))
    sample = draw(fine, np.random.default_rng(0), reynolds=100.0)
    exact = solve_one(fine, sample)
    errors = []
    for resolution in ((13, 49), (25, 97)):
        coarse = channel(resolution=resolution)
        fields = coarse.grid.interpolate(
            vector(solve_one(coarse, sample).fields), fine.grid
        )
        errors.append(
            relative_l2(fine.grid, exact.points, fields, vector(exact.fields))
        )
    # of third order where smooth; the bumps' feet and coarse layers take one away
    assert errors[1] < 0.02 and errors[1] < errors[0] / 4


@pytest.mark.parametrize("reynolds", [100.0, 400.0])
def test_a_guess_one_per_cent_off_takes_few_solves(reynolds: float) -> None:
    solver = channel()
    sample = draw(solver, np.random.default_rng(0), reynolds=reynolds)
    cold = solve_one(solver, sample)
    x, y = cold.points.T
    off = {
        k: v * (1 + 0.014 * np.sin(2 * x) * np.cos(4 * y))
        for k, v in cold.fields.items()
    }
    for guess in (off, {name: off[name] for name in VELOCITY}):
        warm = solve_one(solver, sample, guess)
        assert warm.start == "guess"
        assert warm.factorisations < cold.factorisations
        assert warm.linear_solves <= 8
        np.testing.assert_allclose(vector(warm.fields), vector(cold.fields), atol=SAME)
    assert solver.residual_one(complete(solver, sample), cold.fields) <= TIGHT
    again = solve_one(solver, sample, cold.fields)
    assert again.linear_solves == 0


def test_a_useless_guess_does_no_harm() -> None:
    solver, rng = channel(), np.random.default_rng(3)
    sample, another = draw(solver, rng), draw(solver, rng)
    cold, other = solve_one(solver, sample), solve_one(solver, another)
    garbage = {k: rng.standard_normal(len(v)) for k, v in cold.fields.items()}
    huge = {name: 1e8 * value for name, value in garbage.items()}
    for guess in (other.fields, garbage, huge):
        solution = solve_one(solver, sample, guess)
        # one correction to judge it, and a few before Newton gives up
        assert solution.linear_solves <= cold.linear_solves + 8
        np.testing.assert_allclose(
            vector(solution.fields), vector(cold.fields), atol=SAME
        )


def test_a_coarse_solution_is_a_good_guess() -> None:
    from opkit.solvers.fem.quads.ladder import solve_from_coarse

    solver = channel(resolution=(25, 129))
    sample = draw(solver, np.random.default_rng(0), reynolds=400.0)
    cold = solve_one(solver, sample)
    cascade = solve_from_coarse(solver, complete(solver, sample), (32, 8))
    assert cascade.start == "guess"
    assert cascade.factorisations < cold.factorisations
    np.testing.assert_allclose(vector(cascade.fields), vector(cold.fields), atol=SAME)


def test_samples_do_not_depend_on_each_other() -> None:
    solver, rng = channel(), np.random.default_rng(7)
    one, two = draw(solver, rng), draw(solver, rng)
    before = solve_one(solver, one)
    solve_one(solver, two)
    after = solve_one(solver, one)
    for name, values in before.fields.items():
        np.testing.assert_array_equal(values, after.fields[name])


def test_a_mesh_too_coarse_names_the_last_reynolds_number() -> None:
    solver = channel(resolution=(7, 33))
    sample = {
        "places": np.array([2.0, 4.0, 6.0]),
        "heights": np.full(3, 0.7),
        "widths": np.full(3, 0.4),
        "reynolds": np.array(600.0),
    }
    with pytest.raises(NotConvergedError, match="last load reached is Reynolds") as e:
        solve_one(solver, sample)
    assert "\n" not in str(e.value)


def test_bad_input_is_refused_in_one_line() -> None:
    solver, pipe = channel(resolution=(5, 17)), Pipe(resolution=(5, 17))
    rng = np.random.default_rng(0)
    good, axis = batch(draw(solver, rng, reynolds=50.0)), batch(draw(pipe, rng))
    two = {name: np.repeat(values, 2, 0) for name, values in good.items()}
    two["heights"][1] = 1.2
    zeros = np.zeros((1, 5, 17))
    guess = dict.fromkeys(VELOCITY, zeros)
    steep = np.array([[20.0, 0, 0, 0]])
    cases = [
        (solver, {**good, "heights": good["heights"] + 0.9}, None, "pinched off"),
        (solver, {**good, "widths": 9 * good["widths"]}, None, "overlaps with"),
        (solver, two, None, "sample 1 of the batch: bump 0: height 1.2"),
        (solver, {**good, "reynolds": np.array([5e3])}, None, "must be in"),
        (solver, {**good, "reynolds": np.array([np.nan])}, None, "reynolds of sample"),
        (solver, {**good, "places": np.zeros((2, 3))}, None, "2 samples and"),
        (solver, {n: good[n] for n in ("places", "widths")}, None, "no heights in"),
        (solver, good, {**guess, "velocity_x": zeros + np.nan}, "velocity_x holds NaN"),
        (solver, good, {**guess, "velocity_y": zeros[:, 1:]}, r"give \(batch, 5, 17"),
        (solver, good, {"velocity_x": zeros}, "velocity_y is missing"),
        (pipe, {**axis, "positions": steep}, None, "pinches off"),
        (pipe, {**axis, "slopes": np.zeros((1, 4))}, None, "slopes has shape"),
        (pipe, {**axis, "inlet": np.array([3.0])}, None, "inlet 3 must be above 0"),
    ]
    for case, inputs, start, message in cases:
        with pytest.raises(OpkitInputError, match=message) as caught:
            case.solve(inputs) if start is None else case.solve_from(inputs, start)
        assert "\n" not in str(caught.value)
