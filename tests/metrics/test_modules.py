"""Metrics: independence of batches and processes; values are tested as losses."""

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.metrics import functional
from opkit.metrics import modules as metrics
from opkit.metrics.domains import Grid

GRID = Grid((1.0, 1.0), (True, False))


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_value_does_not_depend_on_the_cut_into_batches(name):
    p, t = torch.randn(2, 11, 2, 8, 8, dtype=torch.float64)
    whole = metrics.build(name, GRID)
    whole.update(p, t)
    pieces = metrics.build(name, GRID)
    for a, b in ((0, 3), (3, 4), (4, 11)):
        pieces.update(p[a:b], t[a:b])
    expected = functional.error(name)(p, t, GRID).mean()
    # float64 sums in another order
    torch.testing.assert_close(whole.compute(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(pieces.compute(), expected, rtol=1e-12, atol=0)


def test_a_sample_of_weight_zero_does_not_count():
    p, t = torch.randn(2, 4, 1, 8, 8)
    metric = metrics.RelativeL2(GRID)
    metric.update(p, t, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    expected = functional.relative_l2(p[:2], t[:2]).double().mean()
    torch.testing.assert_close(metric.compute(), expected)


def test_rollout_error_is_one_number_a_step():
    t = torch.randn(5, 3, 1, 8, dtype=torch.float64)
    factors = torch.tensor([1.0, 1.1, 1.5], dtype=torch.float64)
    metric = metrics.RolloutError(3)
    metric.update(t[:2] * factors[:, None, None], t[:2])
    metric.update(t[2:] * factors[:, None, None], t[2:])
    torch.testing.assert_close(metric.compute(), factors - 1, rtol=1e-12, atol=1e-14)


def test_unknown_metric_suggests_the_nearest():
    with pytest.raises(OpkitInputError, match="vrmse"):
        metrics.build("vmrse", GRID)
