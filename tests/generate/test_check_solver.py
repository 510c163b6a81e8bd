"""The trial of a solver: whole ones pass, each broken one fails where it is broken."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import opkit
from opkit.case.recipe import Recipe
from opkit.case.record import Case
from opkit.cli import app
from opkit.errors import CaseError, OpkitInputError
from opkit.generate.check_solver import check_solver

NAMES = [
    "recipes", "sample", "solve", "seeds", "again", "batches",
    "residual of its solutions", "residual of noise", "pickling", "another process",
    "NaN", "shapes",
]  # fmt: skip
OURS = {
    "darcy": ("resolution=9",),
    "burgers": ("resolution=32", "solver.parameters.rtol=1e-4"),
    "elastic-cantilever": ("resolution=2",),
    "elliptic-boundary": ("resolution=8",),
    "navier-stokes": (
        "resolution=16", "solver.parameters.records=2", "solver.parameters.rtol=1e-3",
    ),
    "quasi-geostrophic": (
        "resolution=16", "solver.parameters.records=2", "distribution.grid=16",
        "distribution.spin_up=864000",
    ),
    "hypino-heat": ("resolution=9",),
}  # fmt: skip
DEAR = ("navier-stokes", "quasi-geostrophic")
END = "end = start * np.exp(-1.0)"


def failures(case: Case) -> dict[str, str]:
    return {c.name: c.detail for c in check_solver(case) if c.passed is False}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in DEAR else ())  # ten seconds each
        for n in OURS
    ],
)
def test_ours_pass(name: str) -> None:
    checks = check_solver(opkit.load_case(name, OURS[name]), samples=2)
    assert [c.name for c in checks] == NAMES
    assert [c for c in checks if c.passed is False] == []
    unasked = [c.name for c in checks if c.passed is None]
    assert unasked == (["seeds"] if name == "hypino-heat" else [])


def test_the_plug_in_passes(heat: Callable[..., Case]) -> None:
    assert failures(heat(8)) == {}


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        (("rng.normal(", "np.random.default_rng().normal("), "seeds",
         "start differs when the same solver draws the same seed"),
        ((END, "end = start * np.random.uniform()"), "again", "end by"),
        ((END, "end = start * np.exp(-1.0 + 1e-15 * len(start))"), "batches",
         "sample 0 alone differs from the same in a batch: end by"),
        ((END, "start *= np.exp(-1.0); end = start"), "solve",
         r"solve\(\) changes start in place: copy it first"),
        ((END, "end = (start * np.exp(-1.0)).astype('f')"), "solve",
         "end is float32: give float64"),
        ((END, "end = start * np.inf"), "solve", "NaN or infinity in end"),
        (("gap / np.linalg.norm(end, axis=1)", "gap + 0.5"),
         "residual of its solutions", "up to 5.0e-01"),
        (("gap / np.linalg.norm(end, axis=1)", "0 * gap"), "residual of noise",
         "measure how far outputs are from solving"),
        (("    def coordinates", "    def __post_init__(self):\n        object."
          "__setattr__(self, 'f', lambda: 0)\n\n    def coordinates"), "pickling",
         "cannot be pickled"),
        (('error = np', "import os; end *= 1 + 1e-9 * os.getpid(); error = np"),
         "another process", "end differs in another process"),
    ],
)  # fmt: skip
def test_one_that_is_broken_fails_there(
    stranger: Callable[..., Case], change: tuple[str, str], where: str, says: str
) -> None:
    faults = failures(stranger(change))
    assert where in faults
    assert re.search(says, faults[where])
    assert all("\n" not in detail for detail in faults.values())
    # A solver that gives others each time, or in place, fails what compares them too.
    comparing = {"again", "batches", "pickling", "another process"}
    comparing |= {"residual of its solutions", "residual of noise"}
    assert faults.keys() <= {where} | comparing


def test_nothing_is_asked_of_what_was_not_solved(stranger: Callable[..., Case]) -> None:
    checks = check_solver(stranger((END, "end = start[:, 1:]")))
    assert [c.passed for c in checks] == [True, True, False, *[None] * 9]
    assert checks[3].detail == "not asked: solve failed"


def test_options_that_an_operator_lacks(heat: Callable[..., Case]) -> None:
    wrong = Recipe(operator="fno", model={"n_mods": [3]})
    faults = failures(heat(8).model_copy(update={"recipes": {"fno": wrong}}))
    assert faults.keys() == {"recipes"}
    assert "unknown key 'n_mods'. Did you mean 'n_modes'?" in faults["recipes"]


def test_one_that_takes_anything(stranger: Callable[..., Case]) -> None:
    checked = 'checked_field(inputs, "start", self.resolution)'
    faults = failures(stranger((checked, 'np.asarray(inputs["start"])')))
    assert faults.keys() == {"NaN", "shapes"}
    assert "takes NaN in start: refuse it" in faults["NaN"]
    assert "takes start of shape (3, 7)" in faults["shapes"]


def test_the_verb(stranger: Callable[..., Case], tmp_path: Path) -> None:
    path = tmp_path / "decay.yaml"
    path.write_text(yaml.safe_dump(stranger().dump()))
    ran = CliRunner().invoke(app, ["check-solver", str(path), "--json"])
    assert ran.exit_code == 0, ran.output
    rows = json.loads(ran.output)
    assert [row["name"] for row in rows] == NAMES
    assert {row["passed"] for row in rows} == {True}
    stranger(("gap / np.linalg.norm(end, axis=1)", "0 * gap"))
    ran = CliRunner().invoke(app, ["check-solver", str(path), "--json"])
    assert isinstance(ran.exception, CaseError)
    message = str(ran.exception)
    assert message.startswith("solver stranger:Decay: residual of noise: 0.0e+00")
    with pytest.raises(OpkitInputError, match="give 2 or more"):
        check_solver(stranger(), samples=1)
