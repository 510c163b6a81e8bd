"""Sensitivity to errors of the input, against maps whose norm is known."""

import numpy as np
import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.surrogate.sensitivity import sensitivity


def test_a_linear_map_has_the_norm_of_its_matrix() -> None:
    """Singular values 3, 1, 0.5, 0.2: an error falls by 9 per step of the iteration."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(n, 4, generator=generator).double())[0]
        for n in (6, 5)
    )
    sizes = torch.tensor([3.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    matrix = left * sizes @ right.T
    x = torch.randn(3, 5, generator=generator).double()
    found = sensitivity(lambda v: v @ matrix.T, x, steps=20)
    np.testing.assert_allclose(found.gain, 3.0, rtol=1e-12)
    ratio = torch.linalg.vector_norm(x, dim=1) / (x @ matrix.T).norm(dim=1)
    np.testing.assert_allclose(found.relative, 3.0 * ratio, rtol=1e-12)
    along = np.abs(found.direction @ right[:, 0].numpy())
    np.testing.assert_allclose(along, 1.0, rtol=1e-12)
    assert (found.settled < 1e-12).all()


def test_fields_are_one_vector_and_samples_stay_apart() -> None:
    """u ↦ u²: the Jacobian is diagonal, 2 u; its norm is 2 max |u| of each sample."""
    u = np.array([[[1.0, 2.0], [3.0, 0.5]], [[0.1, 0.2], [0.3, -0.9]]])
    found = sensitivity(lambda v: v * v, u, steps=60)
    # the ratio of the two largest is 3/2: (2/3)^120 is below rounding
    np.testing.assert_allclose(found.gain, [6.0, 1.8], rtol=1e-10)
    assert found.direction.shape == u.shape
    assert abs(found.direction[1, 1, 1]) == pytest.approx(1.0)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(OpkitInputError, match="2 or more"):
        sensitivity(lambda v: v, torch.ones(2, 3), steps=1)
    with pytest.raises(OpkitInputError, match="not finite"):
        sensitivity(lambda v: v, torch.full((2, 3), torch.nan))
    with pytest.raises(OpkitInputError, match="give \\(batch"):
        sensitivity(lambda v: v, torch.ones(3))
