"""Weights of nodes: areas and volumes, linear fields exactly, cells turned over."""

from itertools import product

import numpy as np
import pytest
from scipy.spatial import Delaunay

from opkit.base.arrays import Array, Indices
from opkit.elements.weights import NodeWeights, of_grid, turned_over
from opkit.errors import OpkitInputError

EXACT = 1e-13
"""Sums of some hundred products in double precision."""
EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))
RNG = np.random.default_rng(7)


def cloud(dimension: int) -> Array:
    """Corners of the unit box, and points inside it."""
    corners = np.array(list(product((0.0, 1.0), repeat=dimension)))
    return np.concatenate([corners, RNG.uniform(0.05, 0.95, (40, dimension))])


def simplices(dimension: int, degree: int) -> tuple[Array, Indices]:
    """A mesh of the unit box, oriented; middles of edges behind the corners."""
    points = cloud(dimension)
    cells = Delaunay(points).simplices.astype(np.int64)
    sides = points[cells[:, 1:]] - points[cells[:, :1]]
    size = np.linalg.det(sides)
    cells = cells[np.abs(size) > 1e-12]
    turned = size[np.abs(size) > 1e-12] < 0
    cells[turned, :2] = cells[turned, 1::-1]
    if degree == 1:
        return points, cells
    numbers: dict[tuple[int, int], int] = {}
    middles = []
    more = []
    for cell in cells:
        row = []
        for i, j in EDGES[: 3 if dimension == 2 else 6]:
            key = (min(cell[i], cell[j]), max(cell[i], cell[j]))
            if key not in numbers:
                numbers[key] = len(points) + len(middles)
                middles.append((points[cell[i]] + points[cell[j]]) / 2)
            row.append(numbers[key])
        more.append(row)
    return np.concatenate([points, middles]), np.concatenate([cells, more], 1)


def brick(dimension: int) -> tuple[Array, Indices]:
    """Quadrilaterals or hexahedra of the unit box, inner nodes shaken; VTK's order."""
    n = 4
    grid = np.array(list(product(range(n), repeat=dimension)), float)
    inside = ((grid > 0) & (grid < n - 1)).all(1)
    grid[inside] += RNG.uniform(-0.2, 0.2, (inside.sum(), dimension))
    square = [(0, 0), (1, 0), (1, 1), (0, 1)]
    corners = square if dimension == 2 else [(*s, z) for z in (0, 1) for s in square]
    cells = [
        [np.ravel_multi_index(np.add(start, corner), (n,) * dimension)
         for corner in corners]
        for start in product(range(n - 1), repeat=dimension)
    ]  # fmt: skip
    return grid / (n - 1), np.array(cells)


MESHES = {
    "triangles": simplices(2, 1),
    "tetrahedra": simplices(3, 1),
    "triangles of degree 2": simplices(2, 2),
    "tetrahedra of degree 2": simplices(3, 2),
    "quadrilaterals": brick(2),
    "hexahedra": brick(3),
}


@pytest.mark.parametrize("name", MESHES)
def test_linear_fields_are_integrated_exactly(name: str) -> None:
    """∫ (1 + 2 x - 3 y) over the unit box is 1 + 1 - 3/2; all weights are positive."""
    points, cells = MESHES[name]
    rule = NodeWeights(cells, len(points), points.shape[1])
    weights = rule(points)
    field = 1 + 2 * points[:, 0] - 3 * points[:, 1]
    assert weights.sum() == pytest.approx(1.0, abs=EXACT)
    assert weights @ field == pytest.approx(0.5, abs=EXACT)
    assert (weights > 0).all()
    assert rule.volumes(points).sum() == pytest.approx(1.0, abs=EXACT)


@pytest.mark.parametrize("name", MESHES)
def test_a_cell_turned_over_is_seen(name: str) -> None:
    """All cells are oriented; one with two corners swapped is not."""
    points, cells = MESHES[name]
    d = points.shape[1]
    assert (NodeWeights(cells, len(points), d).least(points) > 0).all()
    wrong = cells.copy()
    wrong[3, [0, 1]] = wrong[3, [1, 0]]
    if "degree" not in name:
        low = NodeWeights(wrong, len(points), d).least(points)
        assert low[3] < 0
        assert (np.delete(low, 3) > 0).all()


OTHER_WAY = {
    "triangles": [1, 0, 2],
    "tetrahedra": [1, 0, 2, 3],
    "quadrilaterals": [1, 0, 3, 2],
    "hexahedra": [1, 0, 3, 2, 5, 4, 7, 6],
}
"""The corners of a cell in an order that turns it over."""


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", MESHES)
def test_a_moved_mesh_that_folds(name: str, mirrored: bool) -> None:
    """Sheared or mirrored as a whole it is sound; a node beyond its neighbours is not.

    The cells of the reference mesh are oriented, but for one.
    """
    points, cells = MESHES[name]
    d = points.shape[1]
    shear = np.eye(d) + 0.5 * np.eye(d, k=1)
    shear[0, 0] = -1 if mirrored else 1
    moved = points @ shear + 3
    assert turned_over(moved, points, cells) is None
    if name in OTHER_WAY:
        listed = cells.copy()
        listed[3] = listed[3, OTHER_WAY[name]]
        assert turned_over(moved, points, listed) is None
    inside = np.flatnonzero(((points > 0.01) & (points < 0.99)).all(1))[0]
    moved[inside] += 2 * shear[0]
    found = turned_over(moved, points, cells)
    assert found is not None
    assert inside in cells[found]
    first = np.flatnonzero((cells == inside).any(1))
    assert found in first


def test_several_sets_of_points_at_once() -> None:
    """A map of determinant 2 doubles every weight."""
    points, cells = MESHES["triangles"]
    rule = NodeWeights(cells, len(points), 2)
    both = rule(np.stack([points, points @ np.array([[1.0, 0.0], [5.0, 2.0]])]))
    np.testing.assert_allclose(both[1], 2 * both[0], rtol=1e-11)


def test_a_surface_in_space() -> None:
    """A flat sheet of area 1 that stands on its edge."""
    points, cells = MESHES["triangles"]
    upright = np.stack([points[:, 0], 0 * points[:, 0], points[:, 1]], 1)
    weights = NodeWeights(cells, len(points), 3)(upright)
    assert weights.sum() == pytest.approx(1.0, abs=EXACT)
    assert weights @ upright[:, 0] == pytest.approx(0.5, abs=EXACT)


def test_grids_that_are_moved() -> None:
    """A sheared box of volume 6, a half cylinder's mantle, an axis that closes."""
    z, y, x = np.meshgrid(
        *(np.linspace(0, 1, n) ** 2 for n in (4, 5, 6)), indexing="ij"
    )
    box = np.stack([2 * x + z, 3 * y - 4 * x, z], -1)
    weights = of_grid(np.stack([box, 2 * box]), 3, (False,) * 3)
    assert weights[0].sum() == pytest.approx(6, rel=EXACT)
    assert weights[1].sum() == pytest.approx(48, rel=EXACT)
    # linear: the integral is volume times value in the middle
    assert (weights[0] * (x - 2 * y)).sum() == pytest.approx(6 * -0.5, rel=1e-12)
    angle = 2 * np.pi * np.arange(64) / 64
    height = np.linspace(0, 2, 3)
    mantle = np.stack(
        [*(np.broadcast_to(f(angle), (3, 64)) for f in (np.cos, np.sin)),
         np.broadcast_to(height[:, None], (3, 64))], -1
    )  # fmt: skip
    area = of_grid(mantle, 2, (False, True)).sum()
    assert area == pytest.approx(2 * 128 * np.sin(np.pi / 64), rel=1e-12)  # of chords


def test_cells_that_have_no_weights_are_refused() -> None:
    with pytest.raises(OpkitInputError, match="cells of 5 corners in 3 dimensions"):
        NodeWeights(np.zeros((1, 5), np.int64), 5, 3)
