"""Solve, store and pays, of fields beside numbers and series on a mesh per sample.

Such files are imported: no solver is behind them, and what needs one says so.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import opkit
from opkit.elements.weights import NodeWeights
from opkit.errors import CaseError, OpkitInputError

from .test_ragged_thread import mesh_of
from .test_series_off_grids import shaped, with_field
from .test_thread import run, settings

TINY = [
    "model.hidden_channels=8", "model.n_layers=1", "model.n_heads=2",
    "training.batch_size=8", "training.epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field u, a number drag and a series lift; one epoch, so errors are large."""
    path = tmp_path_factory.mktemp("solve")
    opkit.save_meshes(
        with_field(20), path / "d.h5", ["inflow=inflow:time"],
        ["u", "drag", "lift=lift:time"],
        splits={"train": 8, "validation": 8, "test": 4}, axes={"time": (0, 2)},
    )  # fmt: skip
    words = ["--operator", "transolver", "--out", path / "run", *settings(*TINY)]
    run("train", path / "d.h5", *words)
    return path


def asked() -> dict[str, np.ndarray]:
    mesh = mesh_of(3)
    *_, item = shaped(4)
    weights = NodeWeights(mesh.cells, *mesh.points.shape)(mesh.points)
    return {"inflow": item["inflow"], "points": mesh.points, "weights": weights}


def test_what_is_accepted_is_the_prediction(folder: Path) -> None:
    """A tolerance above the bound needs no solver; outputs keep their kinds."""
    surrogate = opkit.load(folder / "run")
    given = asked()
    checked = surrogate(given, check=True, coverage=0.5)
    bound = float(np.max(checked.error_bound))
    assert np.isfinite(bound)
    solved = surrogate.solve(given, tolerance=2 * bound, coverage=0.5, significance=0)
    assert solved.action.tolist() == ["accepted"]
    assert solved.stored == 0
    for name in ("u", "drag", "lift"):
        np.testing.assert_array_equal(solved.outputs[name], checked.prediction[name])
    assert solved.outputs["u"].shape == given["points"].shape[:1]
    assert solved.outputs["drag"].shape == () and solved.outputs["lift"].shape == (9,)


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_without_a_solver_nothing_is_solved_or_kept(
    tolerance: float, folder: Path, tmp_path: Path
) -> None:
    surrogate = opkit.load(folder / "run")
    store = tmp_path / "store.h5"
    with pytest.raises(CaseError, match="there is no solver") as raised:
        surrogate.solve(asked(), tolerance=tolerance, store=store)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OpkitInputError, match="another origin"):
        surrogate.solve(asked(), tolerance=tolerance, store=folder / "d.h5")


def test_pays_says_that_there_is_no_solver(folder: Path) -> None:
    """Errors and times are measured, nothing is compared; the reason is one line."""
    words = ("--pays", "--samples", "2", "--repeats", "1", "--json")
    found = json.loads(run("evaluate", folder / "run", *words).stdout)
    assert found["note"] == "imported data name no case, so no solver is known"
    assert found["exact"]["note"] == "no solver"
    assert (found["rungs"], found["rival"], found["ratio"]) == ([], None, None)
    own, _ = opkit.evaluate(folder / "run").rows
    assert found["relative_l2_of_split"] == pytest.approx(own.relative_l2, rel=1e-6)
    assert found["pays"] is not True and found["queries"] is None
    assert found["seconds"] > 0
