"""Flow past a cylinder: published values, symmetry, conservation, what is refused."""

import numpy as np
import pytest

from opkit.errors import NonFiniteError, NotConvergedError, OpkitInputError
from opkit.solvers.cylinder_wake import CylinderWake
from opkit.solvers.cylinder_wake.cylinder import Cylinder
from opkit.solvers.cylinder_wake.grid import Channel, WakeGrid
from opkit.solvers.cylinder_wake.solver import FIELDS
from opkit.solvers.fem.quads.fields import gauss, jacobians
from opkit.solvers.interface import (
    Ladder,
    MovesNodes,
    OnMesh,
    Parametric,
    Solution,
    TakesGuess,
)

H = 0.41


def wake(**parameters) -> CylinderWake:
    """A solver on few cells: 1632 nodes, five seconds per sample."""
    return CylinderWake(**{"resolution": (8, 8), "frames": 8, **parameters})


def inputs(*samples: tuple[float, tuple[float, float], float]) -> dict:
    reynolds, centre, radius = zip(*samples, strict=True)
    return {
        "reynolds": np.array(reynolds),
        "centre": np.array(centre),
        "radius": np.array(radius),
    }


MIDDLE = inputs((100.0, (0.2, H / 2), 0.05))


@pytest.fixture(scope="module")
def middle() -> Solution:
    """A cylinder in the middle of the channel."""
    return wake().solve(MIDDLE)


def upside_down(solver: CylinderWake, points: np.ndarray) -> np.ndarray:
    """The node at the mirror image of each node."""
    key = np.round(points * [1, 1], 9)
    image = np.round([[x, solver.height - y] for x, y in points], 9)
    order = {tuple(row): k for k, row in enumerate(key)}
    return np.array([order[tuple(row)] for row in image])


def test_what_it_offers() -> None:
    solver = wake()
    for protocol in (Parametric, MovesNodes, OnMesh, TakesGuess, Ladder):
        assert isinstance(solver, protocol), protocol
    assert solver.sample(np.random.default_rng(0)) == {}
    points, cells = solver.mesh()
    assert len(np.unique(cells)) == len(points) == solver.grid.nodes
    a, b, c = points[cells].transpose(1, 2, 0)
    areas = ((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / 2
    assert areas.min() > 0
    # a circle of 64 chords
    exact = 2.2 * H - 32 * 0.05**2 * np.sin(np.pi / 32)
    assert areas.sum() == pytest.approx(exact, rel=1e-12)
    np.testing.assert_array_equal(
        solver.points(inputs((100.0, (0.2, 0.2), 0.05)))[0], points
    )


@pytest.mark.parametrize("radius", [H / 16, 0.05, H / 5])
def test_the_mesh_is_one_topology_for_every_cylinder_inside(radius: float) -> None:
    grid, channel = WakeGrid(8, 8, 16), Channel(2.2, H, 1.1 * H)
    q, weights = gauss(3)
    exact = 2.2 * H - np.pi * radius**2
    room = radius + max(radius, H / 8)
    for x in (room, 1.1 * H - room):
        for y in (room, H - room):
            points = grid.points(channel, np.array([x, y]), radius)
            det = np.linalg.det(jacobians(grid, points, q))
            assert det.min() > 0
            # 32 quadratic arcs: relative to the circle of order (2π/32)⁴
            area = (det * weights).sum()
            assert area == pytest.approx(exact, abs=1e-3 * np.pi * radius**2)
            ring = points[grid.cylinder] - [x, y]
            np.testing.assert_allclose(np.linalg.norm(ring, axis=1), radius)
            sides = [points[grid.inlet, 0], points[grid.outlet, 0] - 2.2]
            np.testing.assert_array_equal(np.concatenate(sides), 0)
            assert set(points[grid.walls, 1]) == {0, H}


def test_fields_of_one_grid_on_another() -> None:
    """Biquadratic fields of the logical coordinates come back from a finer grid."""
    coarse, fine = WakeGrid(4, 4, 6), WakeGrid(8, 8, 12)
    values = np.random.default_rng(0).standard_normal((2, coarse.nodes))
    there = coarse.interpolate(values, fine)
    np.testing.assert_allclose(fine.interpolate(there, coarse), values, atol=1e-12)
    channel, centre = Channel(2.2, H, 1.1 * H), np.array([0.2, 0.2])
    a, b = (g.points(channel, centre, 0.05) for g in (coarse, fine))
    # places are not biquadratic: third order in the cells
    np.testing.assert_allclose(coarse.interpolate(a.T, fine).T, b, atol=0.01)
    bilinear = fine.at_nodes(b[fine.vertices, 0] * 0 + 3.0)
    np.testing.assert_allclose(bilinear, 3.0)


@pytest.mark.fem
def test_shedding_is_periodic_and_divides_mirror_images_by_half_a_period(
    middle: Solution,
) -> None:
    """u(x, H - y, t + T/2) = u(x, y, t), v and the lift change sign."""
    solver = wake()
    assert middle.error[0] <= solver.tolerance
    k = upside_down(solver, solver.points(MIDDLE)[0])
    u, v, p = (middle.outputs[name][0] for name in FIELDS)
    half = solver.frames // 2
    for field, sign in ((u, 1), (v, -1), (p, 1)):
        image = sign * np.roll(field, -half, axis=0)[:, k]
        distance = np.linalg.norm(image - field) / np.linalg.norm(field)
        # the estimated distance from the periodic flow, of each
        assert distance < 2 * solver.tolerance
    numbers = middle.details
    assert abs(numbers["lift_mean"][0]) < 0.01 * numbers["lift_amplitude"][0]
    # the records begin where the lift, which is all above the axis, rises through 0
    assert 0.25 < numbers["strouhal"][0] < 0.33


@pytest.mark.fem
def test_what_enters_leaves(middle: Solution) -> None:
    """B u = 0 for q = 1: exact in exact arithmetic."""
    from opkit.solvers.cylinder_wake.flow import WakeFlow

    solver = wake()
    flow = WakeFlow(solver.grid, solver.channel)
    x, y = (middle.outputs[name][0] for name in ("velocity_x", "velocity_y"))
    for velocity in np.stack([x, y], axis=-1):
        entering, leaving = flow.flux(velocity)
        assert entering == pytest.approx(H, rel=1e-12)
        assert leaving == pytest.approx(H, rel=1e-11)


@pytest.mark.fem
def test_the_residual_knows_a_solution(middle: Solution) -> None:
    solver = wake()
    stored = {k: v.astype(np.float32) for k, v in middle.outputs.items()}
    # an Euler step at the start of each interval
    assert solver.residual(MIDDLE, stored)[0] < 5e-3
    backwards = {k: v[:, ::-1] if v.ndim > 1 else v for k, v in stored.items()}
    assert solver.residual(MIDDLE, backwards)[0] > 0.05
    shaken = {**stored, "velocity_y": 0.5 * stored["velocity_y"]}
    assert solver.residual(MIDDLE, shaken)[0] > 0.05


@pytest.mark.fem
def test_a_guess_saves_the_transient(middle: Solution) -> None:
    solver = wake()
    guess = {k: v.astype(np.float32) for k, v in middle.outputs.items()}
    again = solver.solve_from(MIDDLE, guess)
    assert again.error[0] <= solver.tolerance
    assert again.details["steps"][0] < 0.6 * middle.details["steps"][0]
    for name in ("drag_mean", "lift_amplitude", "strouhal"):
        # both within the tolerance of the periodic flow
        assert again.outputs[name] == pytest.approx(middle.outputs[name], rel=0.02)


@pytest.mark.slow
@pytest.mark.fem
def test_a_useless_guess_is_dropped() -> None:
    solver = wake(resolution=(6, 6), frames=2, tolerance=0.1)
    cold = solver.solve(MIDDLE)
    garbage = {name: 1e8 * np.ones_like(cold.outputs[name]) for name in FIELDS}
    garbage["velocity_x"][..., ::3] *= -1
    warm = solver.solve_from(MIDDLE, garbage)
    for name in FIELDS:
        np.testing.assert_array_equal(warm.outputs[name], cold.outputs[name])


@pytest.mark.slow
@pytest.mark.fem
def test_a_sample_does_not_depend_on_its_batch() -> None:
    solver = wake(resolution=(6, 6), frames=2, tolerance=0.1)
    one, two = (90.0, (0.2, 0.2), 0.05), (100.0, (0.2, H / 2), 0.05)
    alone, both = solver.solve(inputs(two)), solver.solve(inputs(one, two))
    for name, values in alone.outputs.items():
        np.testing.assert_array_equal(values[0], both.outputs[name][1])
    label, cheap = solver.cheaper()[-1]
    assert "4 x 4 cells" in label
    assert cheap.mesh()[0].shape == solver.mesh()[0].shape


@pytest.mark.fem
def test_fields_from_fewer_cells_lie_on_the_same_nodes() -> None:
    solver = wake(computed=(6, 6), frames=2, tolerance=0.1)
    solution = solver.solve(MIDDLE)
    assert solution.outputs["pressure"].shape == (1, 2, solver.grid.nodes)
    u = solution.outputs["velocity_x"][0]
    assert np.abs(u[:, solver.grid.cylinder]).max() < 1e-12
    y = solver.points(MIDDLE)[0, solver.grid.inlet, 1]
    # the profile is quadratic: in both spaces
    np.testing.assert_allclose(u[0, solver.grid.inlet], 6 * y * (H - y) / H**2)


@pytest.mark.fem
def test_flow_that_stays_steady_or_is_not_periodic_in_time() -> None:
    slow = wake(resolution=(6, 6))
    with pytest.raises(NotConvergedError, match=r"no vortices are shed.*reynolds"):
        slow.solve(inputs((45.0, (0.2, 0.2), 0.065)))
    with pytest.raises(NotConvergedError, match="not periodic after 4 shedding"):
        wake(resolution=(6, 6), cycles=4, tolerance=1e-6).solve(MIDDLE)


@pytest.mark.fem
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_step_too_long_is_noticed() -> None:
    from opkit.solvers.cylinder_wake.flow import WakeFlow

    solver = wake(resolution=(6, 6))
    flow = WakeFlow(solver.grid, solver.channel)
    cylinder = Cylinder(100.0, (0.2, 0.2), 0.05)
    run = flow.run(cylinder, 4.0)
    run.start(flow.rest(cylinder), cylinder.rests)
    with pytest.raises(NonFiniteError, match="smaller courant") as caught:
        run.until_periodic(1e-2, 10)
    assert "\n" not in str(caught.value)


def test_bad_input_is_refused_in_one_line() -> None:
    solver = wake()
    cases = [
        (inputs((100, (0.2, 0.03), 0.05)), "touches or crosses a wall"),
        (inputs((100, (0.2, 0.41), 0.05)), "touches or crosses a wall"),
        (inputs((100, (0.2, 0.08), 0.05)), "is too near to a wall"),
        (inputs((100, (0.02, 0.2), 0.05)), "touches or crosses the inlet"),
        (inputs((100, (0.2, 0.2), 0.05), (100, (2.0, 0.2), 0.05)), "sample 1: .*far"),
        (inputs((100, (0.2, 0.2), 0.2)), "radius 0.2 is outside"),
        (inputs((100, (0.2, 0.2), -0.05)), "radius -0.05 is outside"),
        (inputs((20, (0.2, 0.2), 0.05)), "below no vortices are shed"),
        (inputs((1e4, (0.2, 0.2), 0.05)), "not two-dimensional"),
        (inputs((np.nan, (0.2, 0.2), 0.05)), "reynolds holds NaN"),
        ({"centre": np.zeros((1, 3))}, r"centre has shape \(1, 3\)"),
        ({}, "no reynolds, centre, radius in the inputs"),
        ({"reynolds": np.ones(2), "radius": np.ones(3)}, "as many of each"),
    ]
    for wrong, message in cases:
        for method in (solver.points, solver.solve):
            with pytest.raises(OpkitInputError, match=message) as caught:
                method(wrong)
            assert "\n" not in str(caught.value)
    fields = {name: np.zeros((1, 8, solver.grid.nodes)) for name in FIELDS}
    with pytest.raises(OpkitInputError, match="pressure is missing"):
        solver.residual(MIDDLE, {k: fields[k] for k in FIELDS[:2]})
    with pytest.raises(OpkitInputError, match="velocity_x has shape"):
        solver.solve_from(MIDDLE, {k: v[:, :, 1:] for k, v in fields.items()})


@pytest.mark.slow
@pytest.mark.fem
def test_the_benchmark_2d_2() -> None:
    """Schäfer, Turek (1996), Re = 100: intervals of all contributions."""
    solution = CylinderWake().solve({"reynolds": np.array([100.0])})
    numbers = {name: values[0] for name, values in solution.details.items()}
    assert 3.22 <= numbers["drag_max"] <= 3.24
    assert 0.99 <= numbers["lift_max"] <= 1.01
    assert 0.295 <= numbers["strouhal"] <= 0.305


@pytest.mark.slow
@pytest.mark.fem
def test_a_mirrored_channel_sheds_alike() -> None:
    """The records of the mirrored flow begin half a period later."""
    solver = wake()
    up, down = (inputs((120.0, (0.2, y), 0.05)) for y in (0.18, H - 0.18))
    one, two = solver.solve(up), solver.solve(down)
    for name in ("drag_mean", "lift_amplitude", "strouhal"):
        assert one.outputs[name] == pytest.approx(two.outputs[name], rel=1e-2)
    lift = [s.details["lift_mean"][0] for s in (one, two)]
    assert lift[0] == pytest.approx(-lift[1], abs=0.01 * abs(lift[0]) + 5e-3)
    assert abs(lift[0]) > 0.05
