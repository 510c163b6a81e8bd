"""Quadrilateral grids: numbering, orientation, interpolation, derivatives, shapes."""

import numpy as np
import pytest

from opkit.errors import OpkitInputError
from opkit.solvers.fem.quads.fields import (
    at_points,
    gauss,
    gradients,
    integral,
    jacobians,
    smallest_jacobian,
    to_nodes,
)
from opkit.solvers.fem.quads.grids import QuadGrid, channel_grid, o_grid, ray_angles
from opkit.solvers.laws import shapes

OPEN, CLOSED = QuadGrid(5, 4), QuadGrid(4, 24, periodic=True)


def cell(grid: QuadGrid, rng: np.random.Generator) -> np.ndarray:
    return o_grid(grid, shapes.void_radius(void(rng), ray_angles(grid)))


def void(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(10) * shapes.VOID_STD


def skewed(grid: QuadGrid) -> np.ndarray:
    x = np.linspace(0, 2, grid.shape[0])
    return channel_grid(grid, x, 0.3 * x, 1 + 0.3 * x)


def test_cells_turn_left_and_cover_the_domain() -> None:
    points = cell(CLOSED, np.random.default_rng(0))
    assert smallest_jacobian(CLOSED, points) > 0
    corners = points[CLOSED.vtk_cells[:, :4]]
    sides = np.stack([corners[:, k + 1] - corners[:, k] for k in (0, 1)], axis=-1)
    assert (np.linalg.det(sides) > 0).all()
    # 1 - ∫ r² / 2 dθ; isoparametric edges miss it by the fourth power of their length
    angles = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    radius = shapes.void_radius(void(np.random.default_rng(0)), angles)
    area = integral(CLOSED, points, np.ones((1, len(points))))[0]
    step = 2 * np.pi / 24
    assert area == pytest.approx(1 - np.pi * (radius**2).mean(), abs=step**4)


@pytest.mark.parametrize("grid", [OPEN, CLOSED])
def test_triangles_are_the_same_nodes(grid: QuadGrid) -> None:
    points = skewed(grid) if grid is OPEN else cell(grid, np.random.default_rng(1))
    triangles = grid.triangles
    assert (np.unique(triangles) == np.arange(len(points))).all()
    a, b, c = (points[triangles[:, k]] for k in range(3))
    areas = np.linalg.det(np.stack([b - a, c - a], axis=-1)) / 2
    assert (areas > 0).all()
    if grid is OPEN:
        assert areas.sum() == pytest.approx(2.0, rel=1e-14)
        for k, (i, j) in enumerate(((0, 1), (1, 2), (2, 0)), start=3):
            middle = points[triangles[:, [i, j]]].mean(axis=1)
            np.testing.assert_allclose(points[triangles[:, k]], middle, atol=1e-14)


def test_quadratics_are_exact_on_parallelograms() -> None:
    points = skewed(OPEN)
    x, y = points.T
    u = np.stack([x**2 - x * y, 3 * y**2 + x])
    exact = np.stack([2 * x - y, -x, np.ones_like(x), 6 * y]).T
    slopes = gradients(OPEN, points, u, gauss(2)[0]).reshape(-1, 4, 4)
    # rounding of an inverse Jacobian and of sums of a few dozen terms
    np.testing.assert_allclose(to_nodes(OPEN, slopes).T, exact, atol=1e-12)
    where = gauss(3)[0]
    values = gradients(OPEN, points, u, where).reshape(-1, 9, 4)
    np.testing.assert_allclose(
        values, np.moveaxis(at_points(OPEN, exact.T, where), 0, -1), atol=1e-12
    )
    assert jacobians(OPEN, points, where).shape == (20, 9, 2, 2)
    assert integral(OPEN, points, u[1:])[0] == pytest.approx(
        2 * (1 + 3 * 0.3 + 3 * 0.09 * 4 / 3) + 2, rel=1e-13
    )


@pytest.mark.parametrize("periodic", [False, True])
def test_interpolation_between_grids(periodic: bool) -> None:
    coarse, fine = QuadGrid(2, 4, periodic), QuadGrid(6, 12, periodic)
    i, j = (np.arange(n) for n in coarse.shape)
    wave = np.random.default_rng(0).standard_normal(len(j))
    values = ((i**2 - 3 * i)[:, None] * wave).ravel()
    onto = coarse.interpolate(values, fine)
    # the coarse nodes are among the fine ones
    np.testing.assert_allclose(onto.reshape(fine.shape)[::3, ::3].ravel(), values)
    back = fine.interpolate(onto, coarse)
    np.testing.assert_allclose(back, values, atol=1e-13)
    corners = values[coarse.vertices]
    spread = coarse.at_nodes(corners)
    np.testing.assert_array_equal(spread[coarse.vertices], corners)
    rows = spread.reshape(coarse.shape)
    np.testing.assert_allclose(rows[1], (rows[0] + rows[2]) / 2, atol=1e-14)
    with pytest.raises(OpkitInputError, match="do not match"):
        coarse.interpolate(values, QuadGrid(2, 4, not periodic))


def test_o_grids_nest_and_refuse_voids_that_cross_the_edge() -> None:
    fine = QuadGrid(8, 48, periodic=True)
    rng = np.random.default_rng
    nodes = cell(fine, rng(2)).reshape(*fine.shape, 2)[::2, ::2]
    np.testing.assert_allclose(nodes.reshape(-1, 2), cell(CLOSED, rng(2)), atol=1e-15)
    corners = {(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)}
    outer = cell(CLOSED, rng(2))[CLOSED.edge("last")]
    assert corners <= {tuple(point) for point in outer.tolist()}
    radius = np.full(CLOSED.shape[1], 0.3)
    for value, message in ((0.6, "crosses the edge"), (0.0, "above zero")):
        radius[6] = value  # the middle of a side is 0.5 away
        with pytest.raises(OpkitInputError, match=message):
            o_grid(CLOSED, radius)
    with pytest.raises(OpkitInputError, match="multiple of 4"):
        ray_angles(QuadGrid(2, 6, periodic=True))


def test_the_void_follows_its_law() -> None:
    """The variance of g is Σ_k 16 / (π (k² + 9)) at every angle."""
    rng = np.random.default_rng(0)
    angles = np.array([0.0, 1.0, 4.0])
    draws = np.array([shapes.void_radius(void(rng), angles) for _ in range(4000)])
    assert (draws > 0.2).all() and (draws < 0.4).all()
    g = np.log(0.2 / (draws - 0.2) - 1)
    k = np.arange(1, 6)
    variance = (16 / (np.pi * (k**2 + 9))).sum()
    # a sample variance has relative standard deviation √(2 / n); four of them
    np.testing.assert_allclose(g.var(axis=0), variance, rtol=4 * np.sqrt(2 / 4000))


def test_pipe_axes_pass_through_their_stations() -> None:
    stations = np.array([[0, 1], [2, -1], [-1, 0.5], [0, 0], [1, -2]], dtype=float)
    x = np.linspace(0, 10, 401)
    shift = shapes.pipe_shift(stations, x)
    np.testing.assert_allclose(shift[::100], stations[:, 0], atol=1e-14)
    # one-sided differences over a step of 0.025: an error of about step times s''
    slope = np.diff(shift)[[0, 100, 200, 300, 399]] / 0.025
    np.testing.assert_allclose(slope, stations[:, 1] / 2.5, atol=0.2)
    with pytest.raises(OpkitInputError, match=r"slope .* pinches off \(limit 4"):
        shapes.pipe_shift(20 * stations, x)


@pytest.mark.parametrize(
    ("bumps", "message"),
    [
        ([[3, 0.3, 0.5], [3.6, 0.3, 0.5]], "bump 1: .* overlaps with the bump before"),
        ([[0.3, 0.3, 0.5]], "overlaps with the inlet"),
        ([[11.8, 0.3, 0.5]], "overlaps with the outlet"),
        ([[3, 1.2, 0.7]], "bump 0: height 1.2 .* pinched off"),
        ([[3, 0.3, 0.1]], "half width 0.1 is below"),
    ],
)
def test_bad_bumps_are_refused_in_one_line(bumps: list, message: str) -> None:
    with pytest.raises(OpkitInputError, match=message) as caught:
        shapes.check_bumps(np.array(bumps), 12.0)
    assert "\n" not in str(caught.value)


def test_the_floor_reaches_each_height() -> None:
    bumps = np.array([[1.5, 0.4, 0.8], [3.7, 0.1, 0.5], [5.9, 0.3, 0.6]])
    shapes.check_bumps(bumps, 12.0)
    np.testing.assert_allclose(shapes.floor(bumps, bumps[:, 0]), bumps[:, 1])
