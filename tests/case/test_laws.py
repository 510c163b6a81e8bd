"""Laws of parameters per sample: quantiles, independence, Sobol designs."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from opkit.case import laws
from opkit.case.laws import Choice, LogUniform, Normal, Uniform
from opkit.errors import CaseError

UNIFORM = Uniform(kind="uniform", low=-1, high=3)
LOG = LogUniform(kind="log-uniform", low=1e-5, high=1e-3)
NORMAL = Normal(kind="normal", mean=2.0, std=(0.5, 1.0, 2.0))
CHOICE = Choice(kind="choice", values=(1, 2, 5))
COUNT = 2000


def sampled(law: laws.Parameter, design: laws.Design = "random") -> np.ndarray:
    drawn = (laws.draw({"p": law}, design, 7, i)["p"] for i in range(COUNT))
    return np.stack(list(drawn))


@pytest.mark.parametrize(
    ("law", "exact"),
    [
        (UNIFORM, stats.uniform(-1, 4)),
        (LOG, stats.loguniform(1e-5, 1e-3)),
        (Normal(kind="normal", mean=2, std=3), stats.norm(2, 3)),
    ],
)
def test_draws_follow_the_law(law: laws.Parameter, exact: object) -> None:
    """Kolmogorov-Smirnov at 1e-4: a right law fails once in 10,000 seeds."""
    assert stats.kstest(sampled(law), exact.cdf).pvalue > 1e-4  # type: ignore[attr-defined]


def test_choices_are_equally_likely() -> None:
    """Chi-square at 1e-4."""
    counts = [(sampled(CHOICE) == value).sum() for value in CHOICE.values]
    assert sum(counts) == COUNT
    assert stats.chisquare(counts).pvalue > 1e-4


def test_components_of_a_vector_have_their_own_deviation_and_no_correlation() -> None:
    """Standard deviation of a correlation of n draws: n^(-1/2); 5 of them."""
    values = sampled(NORMAL)
    assert values.shape == (COUNT, 3)
    # relative deviation of a sample standard deviation: (2 n)^(-1/2); 5 of them
    np.testing.assert_allclose(values.std(0), [0.5, 1, 2], rtol=5 / (2 * COUNT) ** 0.5)
    off = np.corrcoef(values.T)[np.triu_indices(3, 1)]
    assert np.abs(off).max() < 5 / COUNT**0.5


def test_one_more_parameter_changes_no_other() -> None:
    """Each parameter has a random stream of its own."""
    alone = laws.draw({"a": UNIFORM}, "random", 3, 5)["a"]
    both = laws.draw({"b": LOG, "a": UNIFORM}, "random", 3, 5)
    assert both["a"] == alone
    assert both["a"] != laws.draw({"a": UNIFORM}, "random", 3, 6)["a"]


def test_a_sobol_design_fills_the_cube_more_evenly_than_chance() -> None:
    """Discrepancy of 128 Sobol points in two dimensions against random ones."""
    unit = Uniform(kind="uniform", low=0, high=1)
    both = {"a": unit, "b": unit}

    def points(design: laws.Design) -> np.ndarray:
        drawn = [laws.draw(both, design, 1, i) for i in range(128)]
        return np.array([[d["a"], d["b"]] for d in drawn])

    sobol = points("sobol")
    assert qmc.discrepancy(sobol) < qmc.discrepancy(points("random")) / 3
    # a (0, m, 2) net: each of 8 x 16 boxes has one of its first 128 points
    boxes = np.floor(sobol * [8, 16]).astype(int)
    assert len({tuple(box) for box in boxes}) == 128


def test_a_sobol_point_does_not_depend_on_what_was_drawn_before() -> None:
    """Workers draw any sample in any order."""
    ahead = laws.draw({"a": NORMAL}, "sobol", 4, 90)["a"]
    laws.draw({"a": NORMAL}, "sobol", 4, 3)
    assert np.array_equal(laws.draw({"a": NORMAL}, "sobol", 4, 90)["a"], ahead)


def test_draws_do_not_depend_on_the_order_of_parameters() -> None:
    """A file holds its case with sorted keys, and its inputs are drawn again."""
    for design in ("random", "sobol"):
        one = laws.draw({"b": LOG, "a": UNIFORM}, design, 4, 7)
        other = laws.draw({"a": UNIFORM, "b": LOG}, design, 4, 7)
        assert one == other


def case_with(**parameters: object) -> None:
    from opkit.case import load_case
    from opkit.case.record import parse_case

    data = load_case("burgers").dump()
    del data["solver"]["parameters"]["viscosity"]
    data["parameters"] = parameters
    parse_case(data).build_solver()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"viscosity": {"kind": "uniform", "low": 2, "high": 1}}, "low must be below"),
        ({"viscosity": {"kind": "log-uniform", "low": 0, "high": 1}}, "above 0"),
        ({"viscosity": {"kind": "lognormal"}}, "lognormal"),
        ({"viscosty": {"kind": "uniform", "low": 1, "high": 2}}, "viscosity"),
        (
            {"viscosity": {"kind": "uniform", "low": 1, "high": 2, "size": 3}},
            "viscosity: input should be a valid number",
        ),
        (
            {"viscosity": {"kind": "normal", "mean": [1, 2], "std": [1, 2, 3]}},
            "different lengths",
        ),
        (
            {"velocity": {"kind": "uniform", "low": 1, "high": 2}},
            "velocity is a parameter and a field",
        ),
    ],
)
def test_a_wrong_law_is_one_line(parameters: dict, words: str) -> None:
    """The message names what is wrong, or the nearest known name."""
    with pytest.raises(CaseError) as caught:
        case_with(**parameters)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
