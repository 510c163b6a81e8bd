"""Numbers in cases that no computer can do with are refused, and so are odd texts."""

import pytest

from opkit.case import load_case
from opkit.errors import CaseError, OpkitInputError
from opkit.pde.expressions import read_expression


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, f"distribution.{key}=1e308")
        for name in ("darcy", "darcy-lognormal", "darcy-mesh", "navier-stokes")
        for key in ("alpha", "tau")
    ]
    + [("burgers", "distribution.tau=1e308"), ("burgers", "distribution.alpha=1e308")]
    + [("darcy", f"resolution={'9' * 19}"), ("darcy", f"samples.train={'9' * 19}")]
    + [("darcy", "title=\ud800x")],
)
def test_a_case_with_such_numbers(name: str, setting: str) -> None:
    with pytest.raises(CaseError) as refused:
        load_case(name, (setting,)).build_solver()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "not " * 400 + "x",
        "~" * 1900 + "x",
        "x" + ".a" * 3000,
        "-" * 3000 + "x",
        "x" + "+x" * 5000,
        "x" + "**2" * 500,
        "sin(" * 90 + "x" + ")" * 90,
        "x if x else " * 500 + "x",
        "9" * 5000,
        "x[0]" * 1000,
        "x" + "\ud800",
    ],
)
def test_deep_expressions(text: str) -> None:
    with pytest.raises(OpkitInputError) as refused:
        read_expression(text)
    assert "\n" not in str(refused.value)
