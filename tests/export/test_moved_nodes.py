"""Exports of operators that are given numbers, and nodes that lie elsewhere."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import opkit
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.write import LIBVER, Writer
from opkit.operators.inputs import Inputs
from opkit.train import train

LINE = np.linspace(0, 1, 9)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """u = k x² + y on grids of 81 points that are stretched and bent."""
    folder = tmp_path_factory.mktemp("moved")
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(LINE, LINE, indexing="ij")
    k, wide = rng.uniform(1, 2, 20), rng.uniform(0.5, 1.5, 20)
    x = x * wide[:, None, None]
    points = np.stack([x, y + 0.1 * np.sin(3 * x)], -1).astype(np.float32)
    u = k[:, None, None] * points[..., 0] ** 2 + points[..., 1]
    grid = (len(LINE),) * 2
    variables = (
        VariableSpec("k", "input", (), (), "float64"),
        VariableSpec("f", "input", ("y", "x"), grid),
        VariableSpec("u", "output", ("y", "x"), grid),
        VariableSpec("points", "points", ("y", "x", "component"), (*grid, 2)),
    )
    parts = np.split(np.arange(20), [12, 16])
    splits = dict(zip(("train", "validation", "test"), parts, strict=True))
    header = Header({}, variables, {"y": Axis(LINE), "x": Axis(LINE)}, splits)
    fields = {"k": k, "f": np.sin(points[..., 0]), "u": u.astype(np.float32)}
    with h5py.File(folder / "d.h5", "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(slice(0, 20), np.arange(20), {**fields, "points": points})
        writer.finish()
    few = ["training.epochs=1", "model.hidden_channels=8", "model.n_layers=1"]
    train(folder / "d.h5", folder / "run", operator="transolver", overrides=few)
    return folder / "run"


@pytest.mark.parametrize("to", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_the_file_is_given_numbers_points_and_weights(run: Path, to: str) -> None:
    """Outputs agree to rounding, for one sample and for several."""
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    record = opkit.export(run, to=to)
    names = [field.name for field in record.inputs]
    assert names == ["inputs", "parameters", "points", "weights"]
    assert record.inputs[2].axes == ("batch", "y", "x", "coordinate")
    assert record.difference.batches == (1, 3)
    beside = json.loads((run / f"{record.file}.json").read_text())
    assert beside["inputs"][3]["shape"] == ["batch", 9, 9]
    if to == "onnx":
        return
    surrogate = opkit.load(run)
    samples = surrogate.samples(run.parent / "d.h5", "test")
    items = [samples[i] for i in (2, 0)]
    batch = {key: torch.stack([item[key] for item in items]) for key in items[0]}
    program = torch.export.load(run / record.file).module()
    given = (batch[k] for k in ("inputs", "parameters", "points", "weights"))
    expected = surrogate.predict(Inputs.of(batch))
    torch.testing.assert_close(program(*given), expected, rtol=1e-5, atol=1e-5)
