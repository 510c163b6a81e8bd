"""The measurement behind docs/consistency.md, for a few operators and coarse points."""

from pathlib import Path

import pytest

from benchmarks import consistency
from opkit.operators import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "consistency.md"
FEW = (16, 32, 64)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", ["transolver", "deeponet"])
def test_answers_converge_on_grids(name: str, periodic: bool) -> None:
    """Changes fall by the order of the trapezoidal rule, or there are none."""
    row = consistency.on_grid(name, periodic, FEW)
    assert row.converges
    assert row.changes[1] <= row.changes[0]


def test_weights_are_what_makes_points_of_any_density_agree() -> None:
    """Without them the answer goes on changing with the density."""
    more = {"crowded": True}
    assert consistency.on_points("transolver", **more).converges
    without = consistency.on_points("transolver", weights=False, **more)
    assert not without.converges
    assert without.slope == pytest.approx(0, abs=0.3)


def test_an_answer_that_changes_by_as_much_each_time_fails() -> None:
    """Its errors against the finest fall nevertheless: 3, 2, 1."""
    row = consistency.Row("none", "grid", (3.0, 2.0, 1.0), (1.0, 1.0, 1.0))
    assert row.slope == pytest.approx(0)
    assert not row.converges


def test_the_page_has_every_operator_and_names_those_that_fail() -> None:
    """Each is measured or left out for a reason; every failing row is listed."""
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in OPERATORS)
    failing = {line.split("`")[1] for line in text.splitlines() if "**fails**" in line}
    (listed,) = [line for line in text.splitlines() if line.startswith("Failing:")]
    assert {part for part in listed.split("`")[1::2]} == failing
