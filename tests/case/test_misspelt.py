"""A name that is misspelt is named with the nearest known one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from opkit.case import load_case
from opkit.case.record import parse_case
from opkit.errors import CaseError, OpkitInputError, instead
from opkit.surrogate.adapters.arrays import _check_names


def _rename(data: dict[str, Any]) -> None:
    data["parameters"] = {"viscosty": data["parameters"]["viscosity"]}


def _kind(data: dict[str, Any]) -> None:
    data["parameters"]["viscosity"]["kind"] = "log-uniforn"


def _bound(data: dict[str, Any]) -> None:
    law = data["parameters"]["viscosity"]
    law["lo"] = law.pop("low")


def _no_kind(data: dict[str, Any]) -> None:
    del data["parameters"]["viscosity"]["kind"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename, "parameters: Burgers takes no 'viscosty' per sample. Did you mean "
                  "'viscosity'?"),
        (_kind, "parameters.viscosity.kind: there is no 'log-uniforn'. Did you mean "
                "'log-uniform'?"),
        (_bound, "unknown key 'parameters.viscosity.log-uniform.lo'. Did you mean "
                 "'low'?"),
        (_no_kind, "parameters.viscosity has no kind"),
    ],
    ids=["name", "kind", "bound", "no kind"],
)  # fmt: skip
def test_in_a_case(change: Callable[[dict[str, Any]], None], message: str) -> None:
    data = load_case("burgers-viscosity").dump()
    change(data)
    with pytest.raises(CaseError) as raised:
        parse_case(data).build_solver()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_in_a_call() -> None:
    given = {"velocity": np.zeros(3), "viscosty": 0.1}
    with pytest.raises(OpkitInputError) as raised:
        _check_names(list(given), ["velocity", "viscosity"])
    assert str(raised.value) == (
        "inputs lack viscosity: give velocity, viscosity, not viscosty. Did you mean "
        "'viscosity' by 'viscosty'?"
    )
    assert instead(["viscosity"], ["pressure"]) == ""
