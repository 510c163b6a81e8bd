"""Features and their Mahalanobis distance."""

import numpy as np
import pytest
import torch

from opkit.surrogate.checks.novelty import distance, features, whitening


def waves(rng, count, k, n=32):
    x = torch.arange(n) / n
    phase = torch.tensor(rng.uniform(0, 2 * np.pi, (count, 1, 1)))
    return torch.sin(2 * np.pi * k * x + phase).expand(count, n, n)[:, None]


def test_features_tell_octaves_and_do_not_depend_on_shifts():
    rng = np.random.default_rng(0)
    low, high = (features(waves(rng, 4, k), spectral=True) for k in (2, 4))
    # a periodic shift changes only the extreme values between grid points
    spectral = slice(4, None)
    torch.testing.assert_close(low[0, spectral], low[1, spectral])
    # octaves: 1, 2, 3 to 4, 5 to 8, ...: sin has the energy 1/4 in the modes +-k,
    # of which the transform of real fields along x holds one
    assert low[0, 5] == pytest.approx(np.log(0.25 + 1e-4 / 6), abs=1e-6)
    assert high[0, 6] == pytest.approx(np.log(0.25 + 1e-4 / 6), abs=1e-6)
    assert low[0, 6] == pytest.approx(np.log(1e-4 / 6), abs=1e-6)


def test_distance_is_that_of_the_gaussian_and_one_on_average():
    rng = np.random.default_rng(1)
    mixing = 100 * (np.eye(6) + 0.2 * rng.normal(size=(6, 6)))  # above the floor
    draw = torch.tensor(rng.normal(size=(20_000, 6)) @ mixing.T + 3)
    learnt = whitening(draw)
    squares = distance(draw, *learnt).square()
    # shrinkage by 6 / 20006 changes it by less than a percent
    assert float(squares.mean()) == pytest.approx(1, abs=0.01)
    step = torch.tensor(mixing @ np.array([10.0, 0, 0, 0, 0, 0])) + 3
    assert float(distance(step[None], *learnt)) == pytest.approx(10 / 6**0.5, rel=0.05)


def test_a_feature_that_never_varied_is_strange_as_soon_as_it_does():
    rng = np.random.default_rng(2)
    draw = torch.tensor(rng.normal(size=(100, 3)))
    draw[:, 1] = 0.5
    learnt = whitening(draw)
    typical = torch.tensor([[0.0, 0.5, 0.0]])
    moved = typical + torch.tensor([0, 0.1, 0])
    assert distance(moved, *learnt) > 5 + distance(typical, *learnt)
