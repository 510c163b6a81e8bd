"""Series and numbers of samples on meshes: one for all, moved, and one each."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.datasets.read import DataFile
from opkit.elements.weights import NodeWeights
from opkit.errors import DataError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator
from opkit.operators.layers.whole_samples import CHANNELS, Readout
from opkit.operators.shapes import DataShape
from opkit.solvers.fem.domains import Square

from .test_ragged_thread import mesh_of
from .test_thread import run, settings

TIMES = np.linspace(0, 2, 9)
SPLITS = {"train": 30, "validation": 10, "test": 10}
FEW = ["model.hidden_channels=16", "model.n_layers=2", "training.batch_size=8"]


def function(rng: np.random.Generator) -> np.ndarray:
    """A parabola in time."""
    return rng.normal(size=3) @ np.stack([np.ones(9), TIMES, TIMES**2])


def on_one_mesh(path: Path) -> xr.Dataset:
    """u = f + mean(g) x, flux = running mean of g, heat = mean(g) + a: all linear."""
    mesh, rng = Square().mesh(4), np.random.default_rng(0)
    g = np.stack([function(rng) for _ in range(50)])
    a, f = rng.normal(size=50), rng.normal(size=(50, 1)) * np.ones(len(mesh.points))
    data = xr.Dataset(
        {
            "g": (("sample", "time"), g),
            "f": (("sample", "node"), f),
            "a": (("sample",), a),
            "u": (("sample", "node"), f + g.mean(1)[:, None] * mesh.points[:, 0]),
            "heat": (("sample",), g.mean(1) + a),
            "flux": (("sample", "time"), g.cumsum(1) / 9),
        },
        {"time": TIMES},
    )
    opkit.save(
        data, path, ["g", "f", "a"], ["u", "heat", "flux"],
        split={"validation": 0.2, "test": 0.2}, mesh=(mesh.points, mesh.cells),
    )  # fmt: skip
    return data


def test_outputs_that_are_linear_in_a_series_are_learnt_on_a_mesh(
    tmp_path: Path,
) -> None:
    """pod-gp has a linear part, so that float32 storage is all that is left (1e-6)."""
    data = on_one_mesh(tmp_path / "d.h5")
    run("train", tmp_path / "d.h5", "--operator", "pod-gp", "--out", tmp_path / "run")
    surrogate = opkit.load(tmp_path / "run")
    answer = surrogate(data[["g", "f", "a"]])
    assert answer.flux.dims == ("sample", "time")
    assert answer.u.dims == ("sample", "node")
    for name in ("u", "heat", "flux"):
        np.testing.assert_allclose(answer[name], data[name], atol=2e-5)
    own, mean = opkit.evaluate(surrogate, tmp_path / "d.h5").rows
    assert set(own.outputs) == {"u", "heat", "flux"}
    assert own.relative_l2 < 1e-5 < 0.5 < mean.relative_l2
    checked = surrogate(data[["g", "f", "a"]].isel(sample=[0, 1]), check=True)
    assert set(checked.quantities) == {"heat"}
    text = run(
        "predict", tmp_path / "run", tmp_path / "d.h5", "-o", tmp_path / "p.vtu",
        code=2,
    ).stderr  # fmt: skip
    assert "heat has no places on the mesh: write to .nc" in " ".join(text.split())


def shaped(count: int) -> Iterator[dict[str, np.ndarray]]:
    """Drag = mean(inflow) height of an ellipse, lift its running mean."""
    for k in range(count):
        rng, mesh = np.random.default_rng(k), mesh_of(k)
        g, height = function(rng), np.ptp(mesh.points[:, 1])
        yield {
            "points": mesh.points,
            "cells": mesh.cells,
            "inflow": g,
            "drag": np.asarray(g.mean() * height),
            "lift": g.cumsum() / 9 * height,
        }


def with_field(count: int) -> Iterator[dict[str, np.ndarray]]:
    """The same with a field u = height (2 + y)."""
    for item in shaped(count):
        y = item["points"][:, 1]
        yield item | {"u": np.ptp(y) * (2 + y)}


def trained(
    path: Path, items: Iterable[dict[str, np.ndarray]], outputs: list[str]
) -> Path:
    """Store samples, and train on them; lift is a series."""
    opkit.save_meshes(
        items, path / "d.h5", ["inflow=inflow:time"], [*outputs, "lift=lift:time"],
        splits=SPLITS, axes={"time": (0, 2)}, units={"time": "s"},
    )  # fmt: skip
    words = settings(*FEW, "training.epochs=15", "training.learning_rate=1e-2")
    run(
        "train", path / "d.h5", "--operator", "transolver", "--out", path / "run",
        *words,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("each"), shaped(50), ["drag"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field, a number and a series of samples that have a mesh each."""
    return trained(tmp_path_factory.mktemp("both"), with_field(50), ["u", "drag"])


def test_numbers_of_shapes(ragged: Path) -> None:
    """A file with a mesh each holds series; its numbers are learnt, and predicted."""
    run("validate", ragged / "d.h5")
    with DataFile(ragged / "d.h5") as file:
        assert file.header.coordinates["time"].units == "s"
        stored = file.read("lift", 3)
    *_, last = shaped(4)
    np.testing.assert_allclose(stored, last["lift"], rtol=1e-6)
    evaluation = opkit.evaluate(ragged / "run")
    own, mean = evaluation.rows
    assert evaluation.reproduced
    assert own.relative_l2 < 0.7 * mean.relative_l2  # 30 samples, 15 epochs
    samples = FieldDataset(ragged / "d.h5", "test")
    surrogate = opkit.load(ragged / "run")
    batch = collate([samples[0], samples[1]])
    assert batch["outputs"].shape == (2, 1, 10)
    answer = surrogate.predict(Inputs.of(batch))
    one = {k: v[None] for k, v in samples[1].items() if k != "sample"}
    torch.testing.assert_close(answer[1:], surrogate.predict(Inputs.of(one)))
    run("predict", ragged / "run", ragged / "d.h5", "-o", ragged / "p.nc")
    with xr.open_dataset(ragged / "p.nc", engine="h5netcdf") as predicted:
        assert predicted.lift.dims == ("sample", "time")
        np.testing.assert_allclose(predicted.drag[41], answer[1, 0, 0], rtol=1e-5)
    text = run(
        "predict", ragged / "run", ragged / "d.h5", "-o", ragged / "p.vtu", code=2
    ).stderr
    assert "drag has no places on the mesh" in " ".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ragged", "both"])
def test_pictures_of_numbers_of_shapes(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(kind)
    run("plot", path / "run")
    names = {figure.name for figure in (path / "run" / "figures").iterdir()}
    assert {"numbers.png", "samples.png", "worst.png"} <= names
    run("report", path / "run", "-o", path / "r.html")
    assert "drag" in (path / "r.html").read_text()


def test_fields_with_numbers_of_shapes(both: Path) -> None:
    """One recipe learns all; scores are those that their definitions give."""
    evaluation = opkit.evaluate(both / "run")
    own, mean = evaluation.rows
    assert evaluation.reproduced
    for name in ("u", "drag", "lift"):
        assert own.outputs[name] < 0.8 * mean.outputs[name]  # 30 samples, 15 epochs
    samples = FieldDataset(both / "d.h5", "test")
    surrogate = opkit.load(both / "run")
    *_, first = shaped(41)
    squares = []
    with DataFile(both / "d.h5") as file:
        for row in file.indices("train"):
            squares.append(float(file.sample(int(row))["drag"]) ** 2)
    errors: dict[str, list[float]] = {"u": [], "drag": [], "lift": []}
    answers = []
    for k in range(len(samples)):
        item, w = samples[k], samples[k]["weights"]
        alone = {name: v[None] for name, v in item.items() if name != "sample"}
        answers.append(surrogate.predict(Inputs.of(alone)))
        guess, true = answers[-1][0, 0], item["outputs"][0]
        gap = guess - true
        errors["u"].append(float((w @ gap[:-10] ** 2 / (w @ true[:-10] ** 2)) ** 0.5))
        errors["drag"].append(float(gap[-10].abs()) / np.mean(squares) ** 0.5)
        errors["lift"].append(float(gap[-9:].norm() / true[-9:].norm()))
        if not k:
            y = first["points"][:, 1]
            u = np.ptp(y) * (2 + y)
            np.testing.assert_allclose(true[:-10], u, rtol=1e-5, atol=1e-6)
    for name, values in errors.items():
        assert own.outputs[name] == pytest.approx(np.mean(values), rel=1e-4)
    batch = collate([samples[0], samples[1]])
    packing = surrogate.config.shape.packing
    assert packing is not None
    together = surrogate.predict(Inputs.of(batch))
    lengths = [len(samples[k]["weights"]) for k in (0, 1)]
    assert together.shape == batch["outputs"].shape
    apart = packing.apart(together, lengths)
    for own_answer, answer in zip(apart, answers, strict=False):
        torch.testing.assert_close(own_answer, answer)
    back = packing.apart(batch["outputs"], lengths)
    torch.testing.assert_close(back[1][0], samples[1]["outputs"])


def test_calls_and_files_with_fields_and_numbers_of_shapes(both: Path) -> None:
    surrogate = opkit.load(both / "run")
    *_, item = shaped(43)
    given = {name: item[name] for name in ("inflow", "points")}
    weights = NodeWeights(item["cells"], *item["points"].shape)(item["points"])
    checked = surrogate(given | {"weights": weights}, check=True, coverage=0.5)
    answer = checked.prediction
    assert answer["u"].shape == item["points"].shape[:1]
    assert answer["drag"].shape == () and answer["lift"].shape == (9,)
    assert (checked.lower["u"] <= checked.upper["u"]).all()
    assert checked.lower["drag"] < answer["drag"] < checked.upper["drag"]
    assert np.isfinite(checked.error_bound).all()
    assert np.isfinite(checked.quantities["drag"].error_bound).all()
    run("predict", both / "run", both / "d.h5", "-o", both / "p.nc")
    with xr.open_dataset(both / "p.nc", engine="h5netcdf") as out:
        assert out.u.dims == ("node",) and out.lift.dims == ("sample", "time")
        at, ends = int(np.argmax(out.sample.values == 42)), out.node_offset.values
        np.testing.assert_allclose(
            out.u[ends[at] : ends[at + 1]], answer["u"], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(out.drag[at], answer["drag"], rtol=1e-4)
    words = ("predict", both / "run", both / "d.h5", "-o", both / "p.vtu")
    assert "drag has no places" in " ".join(run(*words, code=2).stderr.split())


def test_a_series_of_another_length_is_refused(tmp_path: Path) -> None:
    some = list(shaped(3))
    some[2]["lift"] = some[2]["lift"][:5]
    path = tmp_path / "d.h5"
    with pytest.raises(DataError, match=r"sample 2: lift has shape \(5,\), the first"):
        opkit.save_meshes(some, path, [], ["lift=lift:time"], splits={"train": 3})
    assert not path.exists()


def test_a_readout_is_a_mean_over_the_domain() -> None:
    """Points that are there twice, with half of the weight each, change nothing."""
    data = DataShape(
        0, 0, (6,), (False,), (1.0,), point_axes=2, ragged=True, readouts=(2, 1)
    )
    torch.manual_seed(0)
    read, v = Readout(data), torch.randn(1, CHANNELS, 6)
    w = torch.rand(1, 6)
    w /= w.sum()
    twice, half = torch.cat([v, v], 2), torch.cat([w, w], 1) / 2
    answer = read(v, w)
    torch.testing.assert_close(read(twice, half), answer)
    both = read(torch.cat([v, twice], 2), torch.cat([w, half], 1), [6, 12])
    torch.testing.assert_close(both, torch.cat([answer, answer]))


@pytest.mark.parametrize("fields", [0, 2])
@pytest.mark.parametrize("name", ["transolver", "gno", "multipole-gno", "lno", "gino"])
def test_operators_read_numbers_of_samples_of_several_lengths(
    name: str, fields: int
) -> None:
    """Of samples one after another as of each alone, with and without fields."""
    data = DataShape(
        0, fields, (30,), (False,), (1.0,), parameters=1, point_axes=2, ragged=True,
        series=1, times=9, readouts=(9, 1),
    )  # fmt: skip
    near = {"radius": 0.8}
    options = {"gno": near, "multipole-gno": near, "gino": {"latent_shape": [5, 5]}}
    torch.manual_seed(0)
    operator = build_operator(name, data, options.get(name, {})).eval()
    points = torch.rand(1, 75, 2)
    sample = torch.tensor([0] * 30 + [1] * 45)
    batch = Inputs(
        torch.zeros(1, 0, 75), torch.randn(2, 1), points=points,
        weights=torch.rand(1, 75), sample=sample, series=torch.randn(2, 1, 9),
    )  # fmt: skip
    operator.prepare({"points": points})
    with torch.no_grad():
        together = operator(batch)
        alone = [operator(part) for part in batch.apart()]
    packing = data.packing
    assert packing is not None
    assert together.shape == ((1, 1, 2 * 75 + 20) if fields else (2, 1, 10))
    torch.testing.assert_close(together, packing.lay(alone))


def test_readouts_of_a_linear_operator_are_one_line() -> None:
    data = DataShape(1, 0, (8,), (False,), (1.0,), readouts=(1,))
    with pytest.raises(
        OpkitInputError, match="linear=true is for outputs that are all"
    ):
        build_operator("gno", data, {"linear": True})
