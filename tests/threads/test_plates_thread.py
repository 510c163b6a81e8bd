"""A mesh for each sample: quantities of parts, falling back to the solver, and pays."""

from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.case.agreement import refuse_other_parts
from opkit.case.catalogue import load_case
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import DataShape
from opkit.surrogate.adapters.arrays import batch_of
from opkit.surrogate.bundle.record import BundleConfig, Channels, Shape

from .test_thread import run, settings

QUANTITIES = """quantities={
    pull: {kind: integral, of: displacement_x, part: right},
    peak: {kind: maximum, of: von_mises, part: holes}
}"""
SIZES = ["resolution=6", *(f"samples.{s}=24" for s in ("train", "validation"))]
MODEL = ["model.hidden_channels=16", "model.n_layers=2", "model.n_heads=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plates")
    few = settings(*SIZES, "samples.test=4", QUANTITIES)
    run("generate", "elasticity-plates", "--out", path / "d.h5", *few)
    words = settings("training.epochs=2", *MODEL)
    run(
        "train", path / "d.h5", "--operator", "transolver", "--out", path / "run",
        *words,
    )  # fmt: skip
    return path


@pytest.fixture
def plate(folder: Path) -> dict[str, np.ndarray]:
    with DataFile(folder / "d.h5") as file:
        sample = file.sample(int(file.indices("test")[0]))
    names = {"cells": "cell_nodes", "facets": "facet_nodes", "facet_part": "facet_part"}
    own = ("traction", "points", "displacement_x", "displacement_y", "von_mises")
    return {n: sample[n] for n in own} | {n: sample[m] for n, m in names.items()}


@pytest.mark.slow
def test_a_plate_that_is_off_is_solved_on_its_own_mesh(
    folder: Path, plate: dict[str, np.ndarray]
) -> None:
    surrogate = opkit.load(folder / "run")
    checked = surrogate(plate, check=True)
    assert np.isfinite(checked.residual).all()
    solved = surrogate.solve(plate, tolerance=0.01)
    assert solved.action == ["solved"]
    for name in ("displacement_x", "von_mises"):
        # the same solver; stored in float32
        np.testing.assert_allclose(solved.outputs[name], plate[name], atol=2e-6)
    both = {n: np.stack([a, a]) for n, a in plate.items()}
    twice = surrogate.solve(both, exact=True)
    assert list(twice.action) == ["solved", "solved"]
    np.testing.assert_allclose(
        twice.outputs["von_mises"][1], plate["von_mises"], atol=2e-6
    )
    few = {n: plate[n] for n in ("traction", "points", "cells")}
    with pytest.raises(CaseError, match="give cells, facets and facet_part"):
        surrogate.solve(few, tolerance=0.01)
    with pytest.raises(OpkitInputError, match="leave store away"):
        surrogate.solve(plate, tolerance=0.1, store=folder / "s.h5")


@pytest.mark.slow
def test_quantities_of_a_part_are_integrals_over_it(
    folder: Path, plate: dict[str, np.ndarray]
) -> None:
    """∫ u along the side x = 2 by the trapezoidal rule of its nodes.

    The elements are of degree 2: this rule is off by h² / 12 u'', 4e-5 measured.
    """
    surrogate = opkit.load(folder / "run")
    quantities = surrogate.checker.quantities
    batch, _ = batch_of(plate, surrogate.config)
    fields = [plate[v.name] for v in surrogate.config.outputs]
    outputs = torch.from_numpy(np.stack(fields))[None]
    points = plate["points"]
    side = np.flatnonzero(np.isclose(points[:, 0], 2))
    side = side[np.argsort(points[side, 1])]
    exact = np.trapezoid(plate["displacement_x"][side], points[side, 1])
    value = quantities.of(batch, outputs)["pull"]
    np.testing.assert_allclose(value, exact, rtol=3e-4)
    own, mean = opkit.evaluate(folder / "run").rows
    assert set(own.quantities) == {"pull", "peak"} == set(mean.quantities)
    solved = surrogate.solve(plate, tolerance=1e-6, quantity="pull")
    assert solved.action == ["solved"]


@pytest.mark.slow
def test_whether_it_pays_is_measured_on_the_meshes(folder: Path) -> None:
    text = run("evaluate", folder / "run", "--pays").stdout
    assert "solver" in text and "rtol" in text
    run("report", folder / "run", "-o", folder / "r.html")


def test_a_part_that_no_plate_has_is_one_line() -> None:
    wrong = "quantities={q: {kind: integral, of: von_mises, part: hole}}"
    case = load_case("elasticity-plates", ("resolution=6", wrong))
    with pytest.raises(CaseError, match=r"no part 'hole'.*holes"):
        refuse_other_parts(case, case.build_solver())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": [[0, 1, 9]]}, "cells names a node that is not among the 4"),
        ({"cells": [0, 1, 2]}, r"cells has shape \(3,\): give"),
        ({"facet_part": [0, 0]}, "facet_part does not belong to facets of shape"),
    ],
)
def test_a_mesh_that_cannot_be_is_one_line(
    provenance: object, change: dict[str, object], message: str
) -> None:
    assert callable(provenance)
    shape = DataShape(0, 1, (4,), (False,), (1.0,), parameters=1, point_axes=2,
                      ragged=True)  # fmt: skip
    config = BundleConfig(
        operator="transolver", options={}, shape=Shape.of(shape), axes=("node",),
        inputs=(), outputs=(Channels(name="u", units="1", channels=1),),
        parameters=(Channels(name="a", units="1", channels=1),), case={},
        recipe={"operator": "transolver"}, provenance=provenance(),
    )  # fmt: skip
    given: dict[str, object] = {
        "a": 1.0,
        "points": np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
        "cells": [[0, 1, 2], [0, 2, 3]],
        "facets": [[0, 1], [1, 2], [2, 3], [3, 0]],
        "facet_part": [0, 0, 1, 1],
    }
    batch, batched = batch_of(given, config)
    assert isinstance(batch, Inputs) and not batched
    # thirds of the areas of the triangles around each node
    expected = torch.tensor([[1 / 3, 1 / 6, 1 / 3, 1 / 6]])
    torch.testing.assert_close(batch.need("weights").float(), expected)
    with pytest.raises(OpkitInputError, match=message):
        batch_of(given | change, config)
