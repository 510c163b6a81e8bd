"""Damage that checksums of chunks do not see: whole chunks replaced by others."""

from collections.abc import Callable
from pathlib import Path

import corruption
import h5py
import numpy as np
import pytest

from opkit.datasets.exporters.convert import export_data
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import DataError


def chunks_swapped(path: Path) -> None:
    """Two whole chunks of a variable in each other's place, checksums included."""
    with h5py.File(path) as file:
        spans: list[tuple[int, int]] = []
        file["vorticity"].id.chunk_iter(
            lambda chunk: spans.append((chunk.byte_offset, chunk.size))
        )
    content = bytearray(path.read_bytes())
    (one, size), (other, _) = spans[0], spans[1]
    first = content[one : one + size]
    content[one : one + size] = content[other : other + size]
    content[other : other + size] = first
    path.write_bytes(content)


def chunk_of_another_file(path: Path) -> None:
    """An interrupted overwrite: a valid chunk of other content."""
    with h5py.File(path, "r+") as file:
        file["vorticity"][2] *= 1.5


def splits_swapped(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        split = file["split"][:]
        file["split"][:] = split[::-1].copy()


def axis_moved(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["time"][:] = file["time"][:] * 2


def digests_swapped(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["sha256"][:] = np.flip(file["sha256"][:], 0)


DAMAGE = [
    chunks_swapped, chunk_of_another_file, splits_swapped, axis_moved, digests_swapped,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_training_samples_are_what_was_written(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "a.h5"
    corruption.make(path, gzip=0)
    sound = FieldDataset(path, None)
    fields = sound.__getitems__(list(range(len(sound))))
    again = sound.__getitems__([3, 3, 1])
    assert np.array_equal(again[0]["outputs"], fields[3]["outputs"])
    sound.file.close()
    damage(path)
    with pytest.raises(DataError, match="damaged"):
        for split in ("train", "test"):
            samples = FieldDataset(path, split)
            samples.__getitems__(list(range(len(samples))))


@pytest.mark.parametrize("damage", DAMAGE[:2])
@pytest.mark.parametrize("format", ["pdebench", "zarr"])
def test_nothing_damaged_is_exported(
    tmp_path: Path, damage: Callable[[Path], None], format: str
) -> None:
    path = tmp_path / "a.h5"
    corruption.make(path, gzip=0)
    damage(path)
    with pytest.raises(DataError, match="damaged"):
        export_data(path, tmp_path / "out", format)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
