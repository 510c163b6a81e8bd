"""Morphing of meshes, Gaussian processes on them, and maps that hold fronts still."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from opkit.errors import OpkitInputError
from opkit.operators.mmgp.mmgp import MMGP, Shape
from opkit.operators.mmgp.morphing import on_disk, refuse_folds, signed_areas
from opkit.operators.mmgp.optimal import optimal_morphing, rank_error, truncated
from opkit.solvers.fem.domains import Square


def disk(rings: int, around: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the unit disk; the boundary has even points from angle π on."""
    points = [np.zeros((1, 2))]
    for k in range(1, rings + 1):
        angles = np.pi + 2 * np.pi * (np.arange(around) + (rings - k) / 2) / around
        points.append(k / rings * np.stack([np.cos(angles), np.sin(angles)], 1))
    nodes = np.concatenate(points)
    return nodes, Delaunay(nodes).simplices.astype(np.int64)


def shape(n: int, height: float, bend: float) -> Shape:
    """A bent strip, with a mesh of its own."""
    made = Square().mesh(n)
    x, y = made.points.T
    points = np.stack([x, height * y + bend * np.sin(np.pi * x)], 1)
    return Shape(points, made.cells, np.array([height * bend]))


def field(points: np.ndarray, height: float, bend: float) -> np.ndarray:
    x, y = points.T
    along = (y - bend * np.sin(np.pi * x)) / height
    return np.stack([np.sin(3 * x + bend) * along * (2 - along), height * x * y])


def test_the_disk_stays_where_it_is_and_linear_maps_are_exact() -> None:
    """Mean-value coordinates give back what is linear in the boundary: rounding."""
    points, cells = disk(6, 24)
    np.testing.assert_allclose(on_disk(points, cells), points, atol=1e-12)
    turned = points * [3.0, 3.0] + [7.0, -2.0]
    np.testing.assert_allclose(on_disk(turned, cells), points, atol=1e-12)


def test_shapes_that_are_not_convex_come_to_the_disk_without_folds() -> None:
    """A strip bent by half its length; all cells go round the same way."""
    bent = shape(12, 0.3, 0.5)
    places = on_disk(bent.points, bent.cells)
    areas = signed_areas(places, bent.cells)
    assert (areas * np.sign(areas[0])).min() > 0
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(1, abs=1e-12)


def test_fields_on_new_shapes_with_meshes_of_their_own() -> None:
    """30 bent strips with 8 to 13 squares a side; the field is a formula of the place.

    Linear interpolation to the common mesh and back costs h² of second derivatives,
    some tenths of a per cent of the first field; the mean field is 50 times worse.
    """
    rng = np.random.default_rng(0)
    numbers = np.stack([rng.uniform(0.5, 1, 36), rng.uniform(-0.3, 0.3, 36)], 1)
    shapes = [shape(8 + k % 6, *pair) for k, pair in enumerate(numbers)]
    fields = [field(s.points, *p) for s, p in zip(shapes, numbers, strict=True)]
    model = MMGP(shapes[:30], fields[:30], dict(modes=8))
    errors, means, inside = [], [], []
    for new, true in zip(shapes[30:], fields[30:], strict=True):
        u, std = model(new)
        assert u.shape == std.shape == true.shape
        errors.append(np.linalg.norm(u - true) / np.linalg.norm(true))
        centre = model.centre.numpy()
        means.append(np.linalg.norm(centre - true) / np.linalg.norm(true))
        inside.append(np.abs(u - true) <= 1.96 * std)
    assert np.mean(errors) < 0.03
    assert np.mean(errors) < 0.1 * np.mean(means)
    # intervals of 95 %, of 6 shapes
    assert 0.8 < np.concatenate(inside, 1).mean() <= 1


def test_what_folds_or_has_holes_is_named() -> None:
    """A node pulled across its neighbours; a square out of which one is cut."""
    whole = Square().mesh(6)
    points = whole.points.copy()
    inner = int(np.abs(points - 0.5).sum(1).argmin())
    points[inner] += 0.5
    with pytest.raises(OpkitInputError, match=r"sample 3: \d+ of 72 .* worst cell \d+"):
        on_disk(points, whole.cells, 3)
    middle = whole.points[whole.cells].mean(1)
    ring = whole.cells[np.abs(middle - 0.5).max(1) > 0.2]
    used = np.unique(ring)
    cells = np.searchsorted(used, ring)
    with pytest.raises(OpkitInputError, match="not one closed curve"):
        on_disk(whole.points[used], cells)
    with pytest.raises(OpkitInputError, match="triangles in the plane"):
        on_disk(np.zeros((4, 3)), np.zeros((1, 4), np.int64))
    refuse_folds(whole.points, whole.cells[:, ::-1], "turned over as a whole")


def test_samples_that_do_not_belong_together_are_refused() -> None:
    """Too few, other nodes, other numbers."""
    one = shape(4, 1.0, 0.0)
    good = field(one.points, 1.0, 0.0)
    with pytest.raises(OpkitInputError, match="at least 8 shapes"):
        MMGP([one], [good])
    with pytest.raises(OpkitInputError, match="sample 7: fields have shape"):
        MMGP([one] * 8, [*[good] * 7, good[:, 1:]])
    other = Shape(one.points, one.cells, np.zeros(2))
    with pytest.raises(OpkitInputError, match="sample 7 has 2 numbers"):
        MMGP([*[one] * 7, other], [good] * 8)


def test_maps_hold_a_moving_front_still() -> None:
    """An advected Gaussian, 50 snapshots: two modes lose 80 % before, below 1 % after.

    Carried back to the samples, with linear interpolation both ways, too.
    """
    x, centres = np.linspace(0, 1, 161), np.linspace(0.2, 0.8, 50)[:, None]
    u = np.exp(-((x - centres) ** 2) / (2 * 0.04**2))
    assert rank_error(u, 2) > 0.4
    morphed = optimal_morphing(u, rank=2)
    assert morphed.error(2) < 0.01
    assert np.diff(morphed.maps).min() > 0
    again = morphed.back(truncated(morphed.fields, 2))
    assert np.linalg.norm(again - u) < 0.01 * np.linalg.norm(u)
    with pytest.raises(OpkitInputError, match=r"give \(sample, point\)"):
        optimal_morphing(u[:2])
