"""The torch Dataset: right tensors in every mode, in every kind of worker process."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from opkit.case.record import Case
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.layout import chunk_shape
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError
from opkit.generate import generate

Heat = Callable[..., Case]


@pytest.fixture
def heat_file(heat: Heat, tmp_path: Path) -> Path:
    return generate(heat(8), tmp_path / "heat.h5")


def layered_file(path: Path) -> Path:
    """Two layers, seven times, a static forcing."""
    rng = np.random.default_rng(0)
    variables = (
        VariableSpec("initial_vorticity", "input", ("layer", "y", "x"), (2, 6, 8)),
        VariableSpec("forcing", "input", ("y", "x"), (6, 8)),
        VariableSpec("vorticity", "output", ("time", "layer", "y", "x"), (7, 2, 6, 8)),
    )
    axes = {
        d: Axis(np.arange(float(n)), periodic=d in "yx")
        for d, n in (("time", 7), ("layer", 2), ("y", 6), ("x", 8))
    }
    header = Header({}, variables, axes, {"train": np.arange(4), "test": np.array([4])})
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        fields = {v.name: rng.random((5, *v.shape), np.float32) for v in variables}
        writer.put(slice(0, 5), np.arange(5), fields)
        writer.finish()
    return path


def test_map_takes_the_last_frame(heat_file: Path) -> None:
    dataset = FieldDataset(heat_file, "test", subsample=2)
    with DataFile(heat_file) as file:
        row = int(file.indices("test")[1])
        start = file.read("initial_temperature", row)[::2, ::2]
        end = file.read("temperature", row)[-1, ::2, ::2]
    item = dataset[1]
    assert torch.equal(item["inputs"], torch.from_numpy(start.copy())[None])
    assert torch.equal(item["outputs"], torch.from_numpy(end.copy())[None])
    assert dataset.axis("x").tolist() == [0, 0.25, 0.5, 0.75]


def test_autoregressive_with_layers_and_forcing(tmp_path: Path) -> None:
    path = layered_file(tmp_path / "l.h5")
    dataset = FieldDataset(
        path, "train", mode="autoregressive", history=2, subsample=2, subsample_time=2
    )
    with DataFile(path) as file:
        frames = file.read("vorticity", 3)[::2, :, ::2, ::2]
        forcing = file.read("forcing", 3)[::2, ::2]
    item = dataset[3]
    assert item["inputs"].shape == (2, 2, 3, 4)
    np.testing.assert_array_equal(item["inputs"].numpy(), frames[:2])
    np.testing.assert_array_equal(item["outputs"].numpy(), frames[2:])
    np.testing.assert_array_equal(item["static"].numpy(), forcing[None])
    assert dataset.input_channels == ("vorticity[0]", "vorticity[1]")


def test_the_initial_state_is_the_first_frame(heat_file: Path) -> None:
    with DataFile(heat_file) as file:
        row = int(file.indices("test")[1])
        start = file.read("initial_temperature", row)
        records = file.read("temperature", row)
        times = file.header.coordinates["time"].values
    whole = FieldDataset(heat_file, "test", mode="autoregressive")
    np.testing.assert_array_equal(whole[1]["inputs"][0, 0].numpy(), start)
    np.testing.assert_array_equal(whole[1]["outputs"][:, 0].numpy(), records)
    np.testing.assert_array_equal(whole.times, times)
    longer = FieldDataset(heat_file, "test", mode="autoregressive", history=2)
    np.testing.assert_array_equal(longer[1]["inputs"][1, 0].numpy(), records[0])
    np.testing.assert_array_equal(longer[1]["outputs"][:, 0].numpy(), records[1:])
    np.testing.assert_array_equal(longer.times, times[1:])
    # as data sets were read before: records alone
    records_only = FieldDataset(heat_file, "test", mode="autoregressive", initial=False)
    np.testing.assert_array_equal(records_only[1]["outputs"][:, 0].numpy(), records[1:])


def test_space_time_repeats_what_has_no_time(tmp_path: Path) -> None:
    path = layered_file(tmp_path / "l.h5")
    item = FieldDataset(path, "test", mode="space-time")[0]
    assert item["inputs"].shape == (3, 7, 6, 8)
    assert item["outputs"].shape == (2, 7, 6, 8)
    assert torch.equal(item["inputs"][:, 0], item["inputs"][:, 6])
    with DataFile(path) as file:
        vorticity = file.read("vorticity", 4).swapaxes(0, 1)
    np.testing.assert_array_equal(item["outputs"].numpy(), vorticity)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_read_the_same(heat_file: Path, context: str) -> None:
    dataset = FieldDataset(heat_file, "train")
    expected = [dataset[k] for k in range(len(dataset))]  # opened before the fork
    loader = DataLoader(
        dataset,
        batch_size=3,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(context),
        persistent_workers=True,
    )
    for _ in range(2):
        got = [batch for batch in loader]
        for name in ("inputs", "outputs"):
            together = torch.cat([batch[name] for batch in got])
            assert torch.equal(together, torch.stack([item[name] for item in expected]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "dev"}, "no split 'dev'"),
        ({"mode": "video"}, "unknown mode"),
        ({"subsample": 0}, "start at 1"),
        ({"mode": "autoregressive", "history": 5}, "leave none"),
    ],
)
def test_requests_that_do_not_fit(
    heat_file: Path, options: dict[str, object], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        FieldDataset(heat_file, **{"split": "train", **options})  # type: ignore[arg-type]


def test_modes_in_time_need_time(tmp_path: Path) -> None:
    axis = Axis(np.arange(4.0))
    variables = (
        VariableSpec("a", "input", ("x",), (4,)),
        VariableSpec("u", "output", ("x",), (4,)),
    )
    header = Header({}, variables, {"x": axis}, {"train": np.arange(1)})
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        ones = np.ones((1, 4), np.float32)
        writer.put(slice(0, 1), np.arange(1), {"a": ones, "u": ones})
        writer.finish()
    with pytest.raises(DataError, match="needs outputs with a time"):
        FieldDataset(tmp_path / "a.h5", "train", mode="space-time")
    assert FieldDataset(tmp_path / "a.h5", "train")[0]["inputs"].shape == (1, 4)


def test_chunks_with_a_partial_end_in_time(tmp_path: Path) -> None:
    """5 frames of 256 KiB: chunks of 4 frames, the last one with a single frame."""
    shape = (5, 256, 256)
    dims = ("time", "y", "x")
    assert chunk_shape(("sample", *dims), (2, *shape), "f4") == (1, 4, 256, 256)
    axes = {d: Axis(np.arange(float(n))) for d, n in zip(dims, shape, strict=True)}
    variables = (
        VariableSpec("a", "input", ("y", "x"), shape[1:]),
        VariableSpec("u", "output", dims, shape),
    )
    header = Header({}, variables, axes, {"train": np.arange(2)})
    rng = np.random.default_rng(0)
    fields = {v.name: rng.random((2, *v.shape), np.float32) for v in variables}
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(slice(0, 2), np.arange(2), fields)
        writer.finish()
    with h5py.File(tmp_path / "a.h5", "r") as file:  # HDF5 verifies our checksums
        for name, values in fields.items():
            np.testing.assert_array_equal(file[name][:], values)
    with DataFile(tmp_path / "a.h5") as file:
        for _ in range(2):  # with its checksum, and without
            np.testing.assert_array_equal(file.read("u", 1), fields["u"][1])
        rows = np.array([1, 0, 1])
        both = file.read_together(["a", "u"], rows)
        for name, values in both.items():
            np.testing.assert_array_equal(values, fields[name][rows])
        assert file.read("u", slice(0, 0)).shape == (0, *shape)
        with pytest.raises(DataError, match="no variable"):
            file.read("v", 0)
