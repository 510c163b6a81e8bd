"""Training on samples with meshes of their own, to predictions on new meshes."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.spatial import Delaunay

import opkit
from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.datasets.header import Header, Mesh, VariableSpec
from opkit.datasets.ragged_write import RaggedWriter, shapes_of
from opkit.datasets.write import LIBVER
from opkit.elements.weights import NodeWeights
from opkit.errors import OpkitInputError
from opkit.evaluate.run import evaluate
from opkit.figures.run import draw
from opkit.operators.inputs import Inputs

from .test_thread import run, settings

SMALL = ["model.hidden_channels=16", "model.n_layers=2", "model.n_heads=2"]
NUMBER, FIELD = "load", "source"


def mesh_of(k: int) -> Mesh:
    """An ellipse with 60 to 120 nodes, crowded on one side by chance."""
    rng = np.random.default_rng(k)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = np.sqrt(rng.uniform(0, 0.9, 40 + int(rng.integers(60))))
    turn = 2 * np.pi * rng.uniform(0, 1, len(radius)) ** rng.uniform(1, 2)
    rim = np.stack([np.cos(angle), np.sin(angle)], 1)
    inside = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)
    points = np.concatenate([rim, inside]) * [1, rng.uniform(0.5, 1)]
    cells = Delaunay(points).simplices.astype(np.int64)
    corner = points[cells]
    sides = corner[:, 1:] - corner[:, :1]
    return Mesh(points, cells[np.abs(np.linalg.det(sides)) > 1e-9])


def truth(k: int, mesh: Mesh) -> dict[str, np.ndarray]:
    """u = load (x² + mean of the source over the domain): not pointwise."""
    rng = np.random.default_rng(1000 + k)
    x, y = mesh.points.T
    source = np.cos(rng.uniform(1, 3) * x + y) + rng.uniform(-1, 1)
    load = rng.uniform(0.5, 1.5)
    weights = NodeWeights(mesh.cells, *mesh.points.shape)(mesh.points)
    mean = (weights * source).sum() / weights.sum()
    return {
        NUMBER: np.asarray(load),
        FIELD: source.astype(np.float32),
        "u": (load * (x**2 + mean)).astype(np.float32),
    }


def write(path: Path, count: int, numbers: bool = True, fields: bool = True) -> Path:
    variables = [VariableSpec("u", "output", ("node",), (0,))]
    if fields:
        variables.insert(0, VariableSpec(FIELD, "input", ("node",), (0,)))
    if numbers:
        variables.insert(0, VariableSpec(NUMBER, "input", (), (), "float64"))
    order = np.arange(count)
    splits = {"train": order[:-10], "validation": order[-10:-5], "test": order[-5:]}
    shapes = shapes_of(mesh_of(0))
    header = Header({}, tuple(variables), {}, splits, shapes=shapes)
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = RaggedWriter(file, header)
        for k in range(count):
            mesh = mesh_of(k)
            values = truth(k, mesh)
            writer.put(k, mesh, {v.name: values[v.name] for v in variables})
        writer.finish()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ragged")
    write(path / "d.h5", 70)
    few = settings(
        *SMALL, "training.epochs=40", "training.batch_size=6",
        "training.learning_rate=5e-3", "training.points=50",
    )  # fmt: skip
    words = ["--operator", "transolver", "--device", "cpu", *few]
    run("train", path / "d.h5", "--out", path / "run", *words)
    return path


def test_it_learns_what_needs_the_whole_domain(folder: Path) -> None:
    """Below half of the error of the mean; the stored errors are found again."""
    evaluation = evaluate(folder / "run")
    own, mean = evaluation.rows
    assert (own.predictor, mean.predictor) == ("surrogate", "mean")
    assert own.relative_l2 < 0.5 * mean.relative_l2
    assert evaluation.reproduced
    samples = FieldDataset(folder / "d.h5", "test")
    surrogate = opkit.load(folder / "run")
    errors = []
    for i in range(len(samples)):
        item = samples[i]
        one = {k: v[None] for k, v in item.items() if k != "sample"}
        u, w = surrogate.predict(Inputs.of(one)), item["weights"]
        gap, size = (u - one["outputs"]).square(), one["outputs"].square()
        errors.append(float(((gap * w).sum() / (size * w).sum()).sqrt()))
    assert own.relative_l2 == pytest.approx(np.mean(errors), rel=1e-5)
    batch = collate([samples[0], samples[1]])
    u = surrogate.predict(Inputs.of(batch))
    assert u.shape == batch["outputs"].shape
    first = len(samples[0]["weights"])
    alone = {k: v[None] for k, v in samples[1].items() if k != "sample"}
    assert torch.equal(u[..., first:], surrogate.predict(Inputs.of(alone)))


def test_files_and_calls_agree(folder: Path) -> None:
    """A file of predictions; one mesh alone, and two samples on one mesh."""
    run("predict", folder / "run", folder / "d.h5", "-o", folder / "p.nc")
    surrogate = opkit.load(folder / "run")
    samples = FieldDataset(folder / "d.h5", None)
    with xr.open_dataset(folder / "p.nc", engine="h5netcdf") as out:
        offset, flat = out.node_offset.values, out.u.values
    assert len(offset) == len(samples) + 1 and offset[-1] == len(flat)
    for k in (3, 69):
        item = samples[k]
        inputs = {
            NUMBER: item["parameters"][0],
            FIELD: item["inputs"][0],
            "points": item["points"],
            "weights": item["weights"],
        }
        u = surrogate(inputs)["u"]
        np.testing.assert_array_equal(u.numpy(), flat[offset[k] : offset[k + 1]])
        twice = {key: torch.stack([v, v]) for key, v in inputs.items()}
        # another batch size: float32 rounding of matrix products
        np.testing.assert_allclose(surrogate(twice)["u"][1], u, rtol=0, atol=1e-5)
    checked = surrogate(inputs, check=True, coverage=0.5)
    assert np.isfinite(checked.error_bound).all()
    assert checked.lower["u"].shape == u.shape
    npz = folder / "p.npz"
    run("predict", folder / "run", folder / "d.h5", "-o", npz, "--split", "test")
    with np.load(npz) as arrays:
        np.testing.assert_array_equal(arrays["u"], flat[offset[-6] :])
    np.savez(folder / "one.npz", **{key: v.numpy() for key, v in inputs.items()})
    run("predict", folder / "run", folder / "one.npz", "-o", folder / "out.npz")
    with np.load(folder / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["u"], u.numpy())


def test_what_lacks_is_one_line(folder: Path, tmp_path: Path) -> None:
    """Points, weights, and operators that do not take such data."""
    surrogate = opkit.load(folder / "run")
    inputs = {NUMBER: 1.0, FIELD: np.ones(9), "points": np.ones((9, 2))}
    with pytest.raises(OpkitInputError, match="lack weights"):
        surrogate(inputs)
    with pytest.raises(OpkitInputError, match="give points"):
        surrogate({NUMBER: 1.0, FIELD: np.ones(9)})
    words = ["train", folder / "d.h5", "--out", tmp_path / "r", "--operator", "fno"]
    assert "use transolver" in run(*words, code=2).stderr
    slopes = settings("training.loss=relative_h1")
    error = run(*words[:-1], "transolver", *slopes, code=2).stderr
    assert "relative_l2" in error
    error = run("export", folder / "run", "--to", "pt2", code=2).stderr
    assert "a mesh or cloud each" in error and "opkit.load" in error


def test_the_report_and_the_pictures_show_each_mesh(folder: Path) -> None:
    """Errors of the worst samples are those of the table; four rows of pictures."""
    pytest.importorskip("matplotlib")
    opkit.report(folder / "run", folder / "r.html")
    page = (folder / "r.html").read_text()
    assert page.count("data:image/png") == 4 * 4  # source, data, surrogate, error
    assert " nodes; " in page
    for words in ("By nodes:", "By area or volume:", "By load:", "Worst 3: sample"):
        assert words in page
    samples = FieldDataset(folder / "d.h5", "test")
    surrogate = opkit.load(folder / "run")
    errors = []
    for i in range(len(samples)):
        item = samples[i]
        one = {k: v[None] for k, v in item.items() if k != "sample"}
        gap = (surrogate.predict(Inputs.of(one)) - one["outputs"]).square()
        size = one["outputs"].square()
        ratio = (gap * item["weights"]).sum() / (size * item["weights"]).sum()
        errors.append(float(ratio.sqrt()))
    worst = int(np.argmax(errors))
    assert f"sample {65 + worst} of the file, error {max(errors):.3g}" in page
    draw(folder / "run")
    drawn = {p.name for p in (folder / "run" / "figures").iterdir()}
    assert {"curves.png", "samples.png", "worst.png"} <= drawn


@pytest.mark.parametrize("numbers", [True, False])
def test_shapes_alone(tmp_path: Path, numbers: bool) -> None:
    """Without fields: numbers and points, or points alone."""
    write(tmp_path / "d.h5", 20, numbers, fields=False)
    few = settings(*SMALL, "training.epochs=1")
    words = ["--operator", "transolver", "--device", "cpu", *few]
    run("train", tmp_path / "d.h5", "--out", tmp_path / "run", *words)
    surrogate = opkit.load(tmp_path / "run")
    item = FieldDataset(tmp_path / "d.h5", "test")[0]
    inputs = {"points": item["points"], "weights": item["weights"]}
    if numbers:
        inputs[NUMBER] = item["parameters"][0]
    assert surrogate(inputs)["u"].shape == item["weights"].shape


def test_a_stopped_run_goes_on_bit_by_bit(folder: Path, tmp_path: Path) -> None:
    """Two epochs, and one and one: the same weights."""
    words = ["train", folder / "d.h5", "--operator", "transolver", "--device", "cpu"]
    few = settings(*SMALL, "training.schedule=constant")
    one, two = settings("training.epochs=1"), settings("training.epochs=2")
    run(*words, "--out", tmp_path / "a", *few, *two)
    run(*words, "--out", tmp_path / "b", *few, *one)
    run("train", "--resume", tmp_path / "b", *two)
    a, b = (opkit.load(tmp_path / name).model.state_dict() for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)
