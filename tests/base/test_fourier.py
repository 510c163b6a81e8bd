"""Transforms of tensors: equal to torch.fft, and empty where the batch is empty."""

import pytest
import torch

from opkit.base.fourier import irfftn, rfftn
from opkit.metrics.functional import energy_spectrum
from opkit.operators.lsm.coordinate_map import analyse_grid, synthesise_grid
from opkit.surrogate.checks.novelty import features


@pytest.mark.parametrize("shape", [(7,), (8,), (6, 5), (4, 6, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_batch_has_the_shape_of_a_full_one_cut_to_nothing(shape, dtype):
    full = torch.randn(2, 3, *shape, dtype=dtype)
    dim = tuple(range(2, full.ndim))
    u_hat = rfftn(full, dim)
    assert torch.equal(u_hat, torch.fft.rfftn(full, dim=dim))
    assert torch.equal(irfftn(u_hat, shape, dim), torch.fft.irfftn(u_hat, shape, dim))
    empty_hat = rfftn(full[:0], dim)
    assert (empty_hat.shape, empty_hat.dtype) == (u_hat[:0].shape, u_hat.dtype)
    empty = irfftn(empty_hat, shape, dim)
    assert (empty.shape, empty.dtype) == (full[:0].shape, dtype)


def test_what_is_made_of_transforms_takes_an_empty_batch():
    field = torch.randn(3, 2, 8, 10, dtype=torch.float64)
    assert torch.equal(energy_spectrum(field)[:0], energy_spectrum(field[:0]))
    assert torch.equal(features(field, True)[:0], features(field[:0], True))
    modes = analyse_grid(field[:0], (2, 2))
    assert modes.shape == (0, 2, 4, 2)
    assert synthesise_grid(modes, (8, 10)).shape == (0, 2, 8, 10)
