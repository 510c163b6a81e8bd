"""Our checksum against the one HDF5 itself stores."""

import h5py
import numpy as np
import pytest

from opkit.datasets.fletcher import fletcher32, stored


@pytest.mark.parametrize("words", [2, 254, 512, 514, 4096, 84101 * 2])
@pytest.mark.parametrize("fill", ["random", "zeros", "ones"])
def test_equals_the_checksum_of_hdf5(words: int, fill: str) -> None:
    data = np.random.default_rng(words).integers(0, 65536, words, np.uint16)
    if fill != "random":
        data[:] = 0 if fill == "zeros" else 65535
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("x", data=data, chunks=(words,), fletcher32=True)
        _, raw = made.id.read_direct_chunk((0,))
    found = fletcher32(data.view(np.uint8))
    assert found == stored(np.frombuffer(raw[-4:], np.uint8))


def test_any_flipped_bit_changes_it() -> None:
    data = np.random.default_rng(0).integers(0, 256, 600, np.uint8)
    before = fletcher32(data)
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        assert fletcher32(data) != before
        data[bit // 8] ^= 1 << bit % 8
