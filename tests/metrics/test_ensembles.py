"""Scores of ensembles against what is known of normal distributions."""

import numpy as np
import pytest

from opkit.errors import OpkitInputError
from opkit.metrics.ensembles import crps, rank_histogram, spread_over_error


def test_crps_of_normal_members() -> None:
    """N(0, 1) at y: y (2Φ − 1) + 2φ − 1/√π; of any number of members in the mean."""
    draw = np.random.default_rng(0)
    for members in (2, 20):
        x = draw.standard_normal((members, 40000))
        # at y = 0: 2/√(2π) − 1/√π = 0.2337; deviation of the mean: 0.6/√40000
        assert crps(x, np.zeros(40000)).mean() == pytest.approx(0.2337, abs=0.012)
    ends = np.array([[0.0], [1.0]])
    # ½ (|0 − ¼| + |1 − ¼|) − ½ |0 − 1|
    assert crps(ends, [0.25])[0] == pytest.approx(0.0)
    assert crps(ends, [3.0])[0] == pytest.approx(2.0)
    assert crps(np.ones((3, 2)), np.ones(2)).tolist() == [0, 0]


def test_ranks_and_spread_of_calibrated_and_other_ensembles() -> None:
    draw = np.random.default_rng(1)
    x, y = draw.standard_normal((4, 20000)), draw.standard_normal(20000)
    # deviation of a count: √(0.2 · 0.8 / 20000) = 0.003
    np.testing.assert_allclose(rank_histogram(x, y), 0.2, rtol=0, atol=0.012)
    assert spread_over_error(x, y) == pytest.approx(1, abs=0.02)
    narrow = rank_histogram(0.3 * x, y)
    assert narrow[0] > 0.3 and narrow[-1] > 0.3
    assert spread_over_error(0.3 * x, y) < 0.5
    wide = rank_histogram(3 * x, y)
    assert wide[2] > 0.3 and wide[0] < 0.1
    ties = rank_histogram(np.zeros((4, 5000)), np.zeros(5000))
    np.testing.assert_allclose(ties, 0.2, rtol=0, atol=0.03)


def test_what_is_refused() -> None:
    for ensemble, truth, message in (
        (np.zeros((1, 3)), np.zeros(3), "an ensemble of 1"),
        (np.zeros((4, 3)), np.zeros(4), "give \\(member"),
        (np.full((4, 3), np.nan), np.zeros(3), "not finite"),
    ):
        with pytest.raises(OpkitInputError, match=message):
            crps(ensemble, truth)
