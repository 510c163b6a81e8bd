"""Gaussian random fields: covariance, resolution, order of the wavenumbers."""

import numpy as np
import pytest

from opkit.errors import OpkitInputError
from opkit.solvers.laws.periodic_fields import GaussianField, shells

LAW = GaussianField(alpha=2.0, tau=5.0, sigma=25.0)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_shells_hold_one_of_each_pair_in_growing_order(dimensions: int) -> None:
    k = shells(5, dimensions)
    both = {tuple(row) for row in k} | {tuple(-row) for row in k}
    assert len(both) == 2 * len(k) == 11**dimensions - 1
    size = np.abs(k).max(1)
    assert (np.diff(size) >= 0).all()
    longer = shells(9, dimensions)
    assert (longer[: len(k)] == k).all()


@pytest.mark.parametrize("shape", [(64,), (32, 32)])
def test_a_finer_grid_only_adds_modes(shape: tuple[int, ...]) -> None:
    n = shape[0]
    fine_shape = tuple(2 * m for m in shape)
    coarse = LAW.sample(np.random.default_rng(3), shape)
    fine = LAW.sample(np.random.default_rng(3), fine_shape)
    most = (n - 1) // 2
    coarse_hat = np.fft.fftn(coarse) / coarse.size
    fine_hat = np.fft.fftn(fine) / fine.size
    rows = np.arange(-most, most + 1)
    index = np.ix_(*([rows] * len(shape)))
    np.testing.assert_allclose(fine_hat[index], coarse_hat[index], atol=1e-16)
    same = LAW.sample(np.random.default_rng(3), fine_shape, most)
    stride = (slice(None, None, 2),) * len(shape)
    np.testing.assert_allclose(same[stride], coarse, atol=1e-15)


@pytest.mark.parametrize("shape", [(32,), (16, 16)])
def test_variance_of_every_mode(shape: tuple[int, ...]) -> None:
    """E|û_k|² = σ² (|2πk/L|² + τ²)^(−α), and no mean."""
    law = GaussianField(alpha=2.0, tau=5.0, sigma=25.0, length=2.0)
    rng = np.random.default_rng(0)
    count = 4000
    fields = np.stack([law.sample(rng, shape) for _ in range(count)])
    axes = tuple(range(1, fields.ndim))
    power = (np.abs(np.fft.fftn(fields, axes=axes)) ** 2).mean(0) / fields[0].size ** 2
    n = shape[0]
    k = np.fft.fftfreq(n, 1 / n)
    squared = sum(np.ix_(*([(2 * np.pi * k / 2.0) ** 2] * len(shape))))
    expected = 625 * (squared + 25) ** -2.0
    inner = np.ix_(*([np.abs(k) < n // 2] * len(shape)))
    ratio = (power / expected)[inner].ravel()[1:]
    # |û|² is exponential: its mean over 4000 has deviation 1.6 %; 5 of them at most
    assert np.abs(ratio - 1).max() < 5 / np.sqrt(count)
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(fields.mean(axes), 0, atol=1e-15)


def test_isotropy_and_independence_of_the_quadratures() -> None:
    """Real and imaginary parts are independent: E û_k² = 0."""
    rng = np.random.default_rng(1)
    fields = np.stack([LAW.sample(rng, (16, 16)) for _ in range(4000)])
    hat = np.fft.rfft2(fields)[:, 1:3, 1:3]
    square = (hat**2).mean(0) / (np.abs(hat) ** 2).mean(0)
    assert np.abs(square).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("shape", [(8, 16), (4, 4, 4)])
def test_unusable_grids(shape: tuple[int, ...]) -> None:
    with pytest.raises(OpkitInputError, match="random fields"):
        LAW.sample(np.random.default_rng(0), shape)
