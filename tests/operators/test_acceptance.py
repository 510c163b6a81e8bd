"""Data that an operator cannot take are refused with the operators that can."""

from pathlib import Path

import pytest

from opkit.errors import OpkitInputError
from opkit.operators import OPERATORS
from opkit.operators.interface import acceptance_table, check_acceptance, operator_class


@pytest.mark.parametrize("name", OPERATORS)
def test_accepts_exactly_what_it_says(name):
    accepts = operator_class(name).accepts
    for geometry in ("grid", "grid-with-holes", "mesh"):
        for axes in range(1, 5):
            if geometry in accepts.geometries and axes in accepts.dimensions:
                check_acceptance(name, geometry, axes)
            else:
                with pytest.raises(OpkitInputError, match=f"operator {name} takes"):
                    check_acceptance(name, geometry, axes)


def test_refusals_name_operators_that_can():
    with pytest.raises(OpkitInputError, match=r"not mesh with 1: use .*lsm-points"):
        check_acceptance("lsm", "mesh", 1)
    with pytest.raises(OpkitInputError, match=r"not grid with 4: none does yet"):
        check_acceptance("fno", "grid", 4)


def test_the_table_has_every_operator():
    table = acceptance_table()
    assert all(f"| {name} | " in table for name in OPERATORS)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert all(line in readme for line in table.splitlines())
