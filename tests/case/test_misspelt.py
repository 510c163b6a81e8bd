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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("parameters.viscosty.low=1e-5",
         "parameters.viscosty has no kind: give one of uniform, log-uniform, normal, "
         "choice. Did you mean 'viscosity'?"),
        ("parameters.height.low=1e-5",
         "parameters.height has no kind: give one of uniform, log-uniform, normal, "
         "choice."),
        ("recipes.fnoo.training.epochs=3",
         "recipes.fnoo.operator is missing. Did you mean 'fno'?"),
        ("recipes.fno.traning.epochs=3",
         "unknown key 'recipes.fno.traning'. Did you mean 'training'?"),
        ("recipes.fno.model.hiden_channels=3",
         "recipes.fno: operator fno: unknown key 'hiden_channels'. Did you mean "
         "'hidden_channels'?"),
        ("recipes={f: {operator: fno, model: {n_mods: 3}}}",
         "recipes.f: operator fno: unknown key 'n_mods'. Did you mean 'n_modes'?"),
        ("recipes.fno.operator=fnoo",
         "recipes.fno: unknown operator 'fnoo'. Did you mean 'fno'?"),
        ("boundary.lft.value=0", "boundary.lft.kind is missing. Did you mean 'left'?"),
        ("quantities.men.of=velocity",
         "quantities.men has no kind: give one of mean, "),
    ],
)  # fmt: skip
def test_in_an_override(override: str, message: str) -> None:
    with pytest.raises(CaseError) as raised:
        load_case("burgers-viscosity", [override])
    said = str(raised.value)
    assert said.startswith(f"case burgers-viscosity: {message}")
    assert "\n" not in said


def test_entries_of_a_dict_alone_have_siblings() -> None:
    """A field of the record itself is not misspelt, whatever stands beside it."""
    data = load_case("burgers-viscosity").dump()
    data["quantities"] = {
        "mean_u": {"kind": "mean", "of": "velocity"}, "mean_v": {"of": "velocity"},
    }  # fmt: skip
    with pytest.raises(CaseError, match=r"mean_v has no kind.*Did you mean 'mean_u'"):
        parse_case(data)
    del data["quantities"], data["geometry"]["extent"]
    with pytest.raises(CaseError) as raised:
        parse_case(data)
    assert str(raised.value) == "case: geometry.extent is missing"


def test_in_a_call() -> None:
    given = {"velocity": np.zeros(3), "viscosty": 0.1}
    with pytest.raises(OpkitInputError) as raised:
        _check_names(list(given), ["velocity", "viscosity"])
    assert str(raised.value) == (
        "inputs lack viscosity: give velocity, viscosity, not viscosty. Did you mean "
        "'viscosity' by 'viscosty'?"
    )
    assert instead(["viscosity"], ["pressure"]) == ""
