"""Items and batches of files whose nodes lie elsewhere in each sample."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from opkit.case.recipe import Recipe
from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.datasets.header import Axis, Header, Mesh, VariableSpec
from opkit.datasets.write import LIBVER, Writer

SINGLE = 1e-6
"""Coordinates are stored in single precision; sums of some fifty of them."""


def write(path: Path, header: Header, points: np.ndarray) -> Path:
    """Fields u = x - 2 y and a = 1, one number per sample."""
    n = header.samples
    fields = {
        "a": np.ones((n, *points.shape[1:-1]), np.float32),
        "u": (points[..., 0] - 2 * points[..., 1]).astype(np.float32),
        "load": np.arange(float(n)),
        "points": points.astype(np.float32),
    }
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(slice(0, n), np.arange(n), fields)
        writer.finish()
    return path


def specs(dims: tuple[str, ...], shape: tuple[int, ...]) -> tuple[VariableSpec, ...]:
    return (
        VariableSpec("a", "input", dims, shape),
        VariableSpec("load", "input", (), (), "float64"),
        VariableSpec("u", "output", dims, shape),
        VariableSpec("points", "points", (*dims, "component"), (*shape, 2)),
    )


@pytest.fixture
def sheared(tmp_path: Path) -> Path:
    """Grids of 5 x 9 points; sample k is [0, 1 + k] x [0, 1], sheared and graded."""
    y, x = np.meshgrid(np.linspace(0, 1, 5) ** 2, np.linspace(0, 1, 9), indexing="ij")
    points = np.stack([np.stack([(1 + k) * x + k * y, y], -1) for k in range(4)])
    axes = {"y": Axis(np.linspace(0, 1, 5)), "x": Axis(np.linspace(0, 1, 9))}
    splits = {"train": np.arange(3), "test": np.array([3])}
    header = Header({}, specs(("y", "x"), (5, 9)), axes, splits)
    return write(tmp_path / "sheared.h5", header, points)


def test_weights_of_mapped_grids(sheared: Path) -> None:
    """The area of sample k is 1 + k; u is linear, so its integral is exact."""
    samples = FieldDataset(sheared, None)
    for k, item in enumerate(samples[i] for i in range(4)):
        assert item["points"].shape == (5, 9, 2)
        weights = item["weights"].double()
        assert float(weights.sum()) == pytest.approx(1 + k, rel=SINGLE)
        # the middle is ((1 + 2 k) / 2, 1 / 2)
        exact = (1 + k) * ((1 + 2 * k) / 2 - 1)
        integral = float((weights * item["outputs"][0]).sum())
        assert integral == pytest.approx(exact, rel=SINGLE, abs=SINGLE)
    coarse = FieldDataset(sheared, None, subsample=2)[1]
    assert coarse["weights"].shape == (3, 5)
    assert float(coarse["weights"].sum()) == pytest.approx(2, rel=SINGLE)


def test_weights_of_moved_meshes(tmp_path: Path) -> None:
    """Two triangles; sample k is stretched to 1 + k."""
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    mesh = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.stack([square * [1 + k, 1] for k in range(3)])
    header = Header({}, specs(("node",), (4,)), {}, {"train": np.arange(3)}, mesh=mesh)
    samples = FieldDataset(write(tmp_path / "mesh.h5", header, points), "train")
    for k, item in enumerate(samples[i] for i in range(3)):
        third = (1 + k) / 6
        weights = torch.tensor([2 * third, third, 2 * third, third])
        torch.testing.assert_close(item["weights"], weights, rtol=SINGLE, atol=0)


def test_batches_of_such_files_are_stacked(sheared: Path) -> None:
    samples = FieldDataset(sheared, "train")
    (batch,) = DataLoader(samples, batch_size=3, collate_fn=collate)
    assert batch["points"].shape == (3, 5, 9, 2)
    assert batch["weights"].shape == (3, 5, 9)
    assert batch["parameters"].tolist() == [[0], [1], [2]]
    assert "sample" not in batch


def test_operators_that_take_no_points_get_none(sheared: Path) -> None:
    """An FNO's samples are what they were."""
    roles = {"inputs", "outputs", "parameters"}
    samples = Recipe(operator="fno").samples(sheared, "train")
    assert set(samples[0]) == roles
    assert set(FieldDataset(sheared, "train")[0]) == roles | {"points", "weights"}


def test_samples_of_several_lengths_are_laid_one_after_another() -> None:
    """Which node is of which sample; the order of samples is kept."""
    items = [
        {
            "inputs": torch.full((2, n), float(k)),
            "outputs": torch.full((1, n), 10.0 + k),
            "points": torch.full((n, 3), 20.0 + k),
            "weights": torch.full((n,), 1.0 / n),
            "parameters": torch.tensor([30.0 + k]),
            "sample": torch.zeros(n, dtype=torch.int64),
        }
        for k, n in enumerate((3, 1, 4))
    ]
    batch = collate(items)
    of = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    assert torch.equal(batch["sample"], of)
    assert torch.equal(batch["inputs"], of.float().expand(1, 2, 8))
    assert torch.equal(batch["outputs"], 10.0 + of.float().expand(1, 1, 8))
    assert torch.equal(
        batch["points"], 20.0 + of.float()[None, :, None].expand(1, 8, 3)
    )
    assert batch["weights"].shape == (1, 8)
    assert float(batch["weights"].sum()) == pytest.approx(3.0)
    assert batch["parameters"].tolist() == [[30], [31], [32]]
