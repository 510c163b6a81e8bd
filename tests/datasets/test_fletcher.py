"""Our checksum against the one HDF5 itself stores."""

import h5py
import numpy as np
import pytest

from opkit.datasets.digest import (
    SLAB,
    fletcher32,
    stored,
    tail,
)


def raw_chunk(data: np.ndarray) -> bytes:
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset(
            "x", data=data, chunks=data.shape, fletcher32=True
        )
        return bytes(dataset.id.read_direct_chunk((0,))[1])


@pytest.mark.parametrize("words", [2, 254, 512, 514, 4096, SLAB + 256, 84101 * 2])
@pytest.mark.parametrize("fill", ["random", "zeros", "ones", "one"])
def test_equals_the_checksum_of_hdf5(words: int, fill: str) -> None:
    data = np.random.default_rng(words).integers(0, 65536, words, np.uint16)
    if fill != "random":
        data[:] = 65535 if fill == "ones" else 0
        data[-1] = {"zeros": 0, "one": 1}.get(fill, 65535)
    behind = np.frombuffer(raw_chunk(data)[-4:], np.uint8)
    assert tail(data.view(np.uint8)).tobytes() == behind.tobytes()
    assert fletcher32(data.view(np.uint8)[None]) == stored(behind[None])


@pytest.mark.parametrize("words", [10, 300, 8192])
def test_many_chunks_at_once(words: int) -> None:
    data = np.random.default_rng(words).integers(0, 256, (40, 2 * words), np.uint8)
    behind = [np.frombuffer(raw_chunk(d.view(np.uint16))[-4:], np.uint8) for d in data]
    for sums, expected in zip(fletcher32(data), stored(np.stack(behind)), strict=True):
        np.testing.assert_array_equal(sums, expected)


def test_any_flipped_bit_changes_it() -> None:
    data = np.random.default_rng(0).integers(0, 256, 600, np.uint8)
    before = fletcher32(data[None])
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        assert fletcher32(data[None]) != before
        data[bit // 8] ^= 1 << bit % 8
