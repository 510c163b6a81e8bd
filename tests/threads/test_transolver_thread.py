"""Transolver from the case to the answer, where each sample has nodes of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.case import load_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs

from .test_thread import run, settings

pytestmark = pytest.mark.fem
SMALL = ["model.hidden_channels=16", "model.n_layers=2", "model.n_heads=2"]
CASES = {
    "hyperelastic-cell-strain": ([17, 48], "von_mises"),
    "pipe": ([17, 17], "velocity_x"),
    "channel-bumps": ([9, 33], "velocity_x"),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name == "channel-bumps" else pytest.mark.slow)
        for name in CASES
    ],
)
def case(request: pytest.FixtureRequest, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    size = [f"resolution={CASES[request.param][0]}"]
    words = ["--samples", 20, *settings(*size)]
    run("generate", "case", request.param, "--out", folder / "d.h5", *words)
    few = settings(*SMALL, "training.epochs=3", "training.points=100")
    name = ["--operator", "transolver", "--device", "cpu"]
    run("train", folder / "d.h5", "--out", folder / "run", *name, *few)
    return request.param, folder


@pytest.mark.slow
def test_every_verb(case: tuple[str, Path]) -> None:
    """Evaluate finds the stored errors again; predictions, report and pictures."""
    _, folder = case
    text = run("evaluate", folder / "run").stdout
    assert "reproduced exactly" in text
    run("report", folder / "run", "-o", folder / "r.html")
    run("plot", folder / "run")
    run("export", folder / "run", "--to", "pt2")  # is given points and weights
    run("predict", folder / "run", folder / "d.h5", "-o", folder / "p.nc")
    surrogate = opkit.load(folder / "run")
    samples = surrogate.samples(folder / "d.h5", None)
    items = [samples[i] for i in range(4)]
    batch = {key: torch.stack([item[key] for item in items]) for key in items[0]}
    expected = surrogate.predict(Inputs.of(batch))
    with xr.open_dataset(folder / "p.nc", engine="h5netcdf") as out:
        first = out[surrogate.config.outputs[0].name][:4].values
    # another batch size: float32 rounding of matrix products
    gap = np.abs(first - expected[:, 0].numpy()).max()
    assert gap < 1e-4 * float(expected[:, 0].abs().max())


def test_numbers_are_enough(case: tuple[str, Path]) -> None:
    """The solver places the nodes; given ones, in arrays or xarray, are the same."""
    name, folder = case
    output = CASES[name][1]
    surrogate = opkit.load(folder / "run")
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as dataset:
        names = [v.name for v in surrogate.config.parameters]
        two = dataset[[*names, "points"]].isel(sample=slice(0, 2)).load()
    numbers = {key: two[key].values for key in names}
    alone = surrogate(numbers)[output]
    given = surrogate(numbers | {"points": two.points.values})[output]
    # stored places are rounded to float32
    np.testing.assert_allclose(given, alone, rtol=0, atol=1e-4 * np.abs(alone).max())
    np.testing.assert_array_equal(surrogate(two)[output].values, given)
    plain = surrogate(two.drop_vars("points"))[output].values
    np.testing.assert_array_equal(plain, alone)
    far = two.points.values.copy()
    far[..., 0] *= 1.2
    assert np.abs(surrogate(numbers | {"points": far})[output] - alone).max() > 0


def test_solving_where_the_prediction_will_not_do(case: tuple[str, Path]) -> None:
    """The exact answer is the solver's; a check gives a bound."""
    name, folder = case
    output = CASES[name][1]
    surrogate = opkit.load(folder / "run")
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as dataset:
        names = [v.name for v in surrogate.config.parameters]
        numbers = {key: dataset[key].values[:2] for key in names}
        stored = dataset[output].values[:2]
    solved = surrogate.solve(numbers, exact=True)
    assert (solved.action != "accepted").all()
    gap = np.abs(solved.outputs[output] - stored).max()
    # the solver's rtol of 1e-8 and float32 storage
    assert gap < 1e-5 * np.abs(stored).max()
    assert surrogate(numbers, check=True).error_bound.shape == (2,)


def test_gradients_go_through_the_places(case: tuple[str, Path]) -> None:
    """With respect to numbers, against central differences of the whole prediction."""
    _, folder = case
    surrogate = opkit.load(folder / "run")
    surrogate.model.double()
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as dataset:
        names = [v.name for v in surrogate.config.parameters]
        values = {
            key: torch.from_numpy(dataset[key].values[:1].astype(float))
            for key in names
        }
    key = names[0]

    def total(x: torch.Tensor) -> torch.Tensor:
        outputs = surrogate(values | {key: x})
        return sum(field.square().mean() / scale for field, scale in zip(
            outputs.values(), scales, strict=True))  # fmt: skip

    scales = [float(f.square().mean()) for f in surrogate(values).values()]
    x = values[key].clone().requires_grad_()
    total(x).backward()
    step = torch.zeros_like(x)
    step[0, 1] = h = 1e-4
    with torch.no_grad():
        slope = float(total(x + step) - total(x - step)) / (2 * h)
    # both differences are off by the square of their steps
    assert float(x.grad[0, 1]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_what_cannot_be_is_one_line(case: tuple[str, Path], tmp_path: Path) -> None:
    """Points of another grid; settings of training; other operators."""
    _, folder = case
    surrogate = opkit.load(folder / "run")
    shape = surrogate.config.shape
    count = shape.parameters
    inputs = Inputs(torch.zeros(2, 0, *shape.shape), torch.ones(2, count))
    with pytest.raises(OpkitInputError, match="give points"):
        surrogate.predict(inputs._replace(points=torch.zeros(2, 5, 2)))
    with pytest.raises(OpkitInputError, match="need the weights"):
        places = torch.zeros(2, *shape.shape, 2, requires_grad=True)
        surrogate.predict(inputs._replace(points=places))
    words = ["train", folder / "d.h5", "--out", tmp_path / "r", "--operator"]
    few = "training.points=9"
    error = run(*words, "fno", *settings(few), code=2).stderr
    assert "training.points is for operators" in error
    slopes = settings(few, "training.loss=relative_h1")
    assert "no neighbours" in run(*words, "transolver", *slopes, code=2).stderr


def test_quadrature_in_loss_and_metric(case: tuple[str, Path], tmp_path: Path) -> None:
    """The validation error is then that of the weighted norm."""
    name, folder = case
    few = settings(*SMALL, "training.epochs=1", "training.quadrature=true")
    words = ["--operator", "transolver", "--device", "cpu", *few]
    run("train", folder / "d.h5", "--out", tmp_path / "run", *words)
    surrogate = opkit.load(tmp_path / "run")
    held = FieldDataset(folder / "d.h5", "validation")
    errors = []
    for i in range(len(held)):
        item = {key: part[None] for key, part in held[i].items()}
        u, v = surrogate.predict(Inputs.of(item)), item["outputs"]
        w = item["weights"][:, None]
        square = ((u - v).square() * w).flatten(2).sum(2)
        errors.append((square / (v.square() * w).flatten(2).sum(2)).sqrt().mean())
    stored = surrogate.config.provenance.best_validation
    assert float(np.mean(errors)) == pytest.approx(stored, rel=1e-4)
    assert load_case(name).recipes["transolver"]


def test_on_a_mesh(tmp_path: Path) -> None:
    """Inputs on cells, outputs on nodes, one mesh for all samples."""
    data, folder = tmp_path / "d.h5", tmp_path / "run"
    size = ["--resolution", 6, "--samples", 16]
    run("generate", "case", "darcy-mesh", "--out", data, *size)
    few = settings(*SMALL, "training.epochs=2")
    run("train", data, "--out", folder, "--operator", "transolver", *few)
    assert "reproduced exactly" in run("evaluate", folder).stdout
    run("predict", folder, data, "-o", tmp_path / "p.vtu", "--split", "test")
    surrogate = opkit.load(folder)
    with xr.open_dataset(data, engine="h5netcdf") as dataset:
        inputs = {"permeability": dataset.permeability.values[:2]}
        stored = dataset.pressure.values[:2]
    solved = surrogate.solve(inputs, exact=True)
    gap = np.abs(solved.outputs["pressure"] - stored).max()
    assert gap < 1e-5 * np.abs(stored).max()
