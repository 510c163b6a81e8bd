"""Split-conformal quantiles and p-values hold their promise over exchangeable data."""

import numpy as np
import pytest
from scipy import stats

from opkit.errors import OpkitInputError
from opkit.surrogate.checks import conformal


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("samples", [19, 50])
def test_coverage_of_new_samples_is_k_over_n_plus_one(samples, coverage):
    # heavy tails: only ranks may matter
    draws = np.random.default_rng(0).standard_cauchy((20_000, samples + 1)) ** 2
    bound = conformal.quantile(draws[:, :-1], coverage)
    covered = int((draws[:, -1] <= bound).sum())
    exact = conformal.rank(samples, coverage) / (samples + 1)
    assert exact >= coverage
    # covered is binomial: 1e-4 on each side
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], len(draws), exact)
    assert low <= covered <= high


def test_p_values_are_uniform_on_their_grid():
    rng = np.random.default_rng(1)
    p = np.concatenate(
        [
            conformal.p_value(rng.normal(size=19), rng.normal(size=1))
            for _ in range(5000)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        low, high = stats.binom.ppf([1e-4, 1 - 1e-4], len(p), level)
        assert low <= (p <= level + 1e-12).sum() <= high


def test_what_is_not_finite_is_stranger_than_all():
    scores = np.arange(9.0)
    p = conformal.p_value(scores, np.array([np.nan, np.inf, 8.5, -1.0]))
    np.testing.assert_allclose(p, [0.1, 0.1, 0.1, 1.0])


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.5, 1)])
def test_too_few_samples_bound_nothing(coverage, needed):
    assert conformal.samples_needed(coverage) == needed
    scores = np.random.default_rng(0).normal(size=needed)
    assert conformal.quantile(scores, coverage) == scores.max()
    assert np.isinf(conformal.quantile(scores[1:], coverage))


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1, 2, float("nan")])
def test_a_coverage_that_is_no_probability_is_refused(coverage):
    with pytest.raises(OpkitInputError, match="between 0 and 1"):
        conformal.quantile(np.ones(3), coverage)
