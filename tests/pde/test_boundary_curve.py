"""The check of a boundary curve that solver and operators share, on cells of 4 x 4."""

import numpy as np
import pytest

from opkit.errors import OpkitInputError
from opkit.pde.boundary_curve import faces_of


def rectangle():
    """Cells (1, 1) and (1, 2) of 4 x 4: their six faces, from the lower left."""
    inside = np.zeros((4, 4), bool)
    inside[1, 1:3] = True
    x = np.array([1.5, 2.5, 3.0, 2.5, 1.5, 1.0]) / 4
    y = np.array([1.0, 1.0, 1.5, 2.0, 2.0, 1.5]) / 4
    normal_x = np.array([0.0, 0, 1, 0, 0, -1])
    normal_y = np.array([-1.0, -1, 0, 1, 1, 0])
    return inside, x, y, normal_x, normal_y


def test_cell_and_side_of_each_face():
    row, column, side = faces_of(*rectangle())
    assert row.tolist() == [1, 1, 1, 1, 1, 1]
    assert column.tolist() == [1, 2, 2, 2, 1, 1]
    assert side.tolist() == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_sample_of_a_batch_is_recognised_from_its_own_start(dtype):
    inside, *data = rectangle()
    batch = [np.stack([part, np.roll(part, -2)]).astype(dtype) for part in data]
    row, column, side = faces_of(np.stack([inside, inside]), *batch)
    assert column.tolist() == [[1, 2, 2, 2, 1, 1], [2, 2, 1, 1, 1, 2]]
    assert side.tolist() == [[0, 0, 1, 2, 2, 3], [1, 2, 2, 3, 0, 0]]
    assert row.shape == (2, 6)


def test_the_sample_and_the_face_at_fault_are_named():
    inside, *data = rectangle()
    batch = [np.stack([part, part]) for part in data]
    batch[0][1, [0, 1]] = batch[0][1, [1, 0]]
    message = r"^sample 1: boundary is not closed: face 0 ends at \(0\.75, 0\.25\)"
    with pytest.raises(OpkitInputError, match=message):
        faces_of(np.stack([inside, inside]), *batch)


def test_a_hole_without_faces_is_refused():
    inside = np.ones((4, 4), bool)
    side, middle = np.zeros(4), (np.arange(4) + 0.5) / 4
    x = np.concatenate([middle, side + 1, middle[::-1], side])
    y = np.roll(x, 4)
    normal_y = np.repeat([-1.0, 0, 1, 0], 4)
    normal_x = np.repeat([0.0, 1, 0, -1], 4)
    faces_of(inside, x, y, normal_x, normal_y)
    inside[1, 2] = False
    with pytest.raises(OpkitInputError, match="20 boundary faces and the data 16"):
        faces_of(inside, x, y, normal_x, normal_y)


def test_a_curve_that_touches_itself_is_refused():
    inside = np.zeros((4, 4), bool)
    inside[1, 1] = inside[2, 2] = True
    # (1, 1) up to its corner (2, 2), then around (2, 2), then back
    x = np.array([1.5, 2.0, 2.5, 3.0, 2.5, 2.0, 1.5, 1.0]) / 4
    y = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 2.5, 2.0, 1.5]) / 4
    normal_x = np.array([0.0, 1, 0, 1, 0, -1, 0, -1])
    normal_y = np.array([-1.0, 0, -1, 0, 1, 0, 1, 0])
    with pytest.raises(OpkitInputError, match=r"passes twice through \(0\.5, 0\.5\)"):
        faces_of(inside, x, y, normal_x, normal_y)
