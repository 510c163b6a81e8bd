"""Other people's files: read in a child, within limits, and numbers only."""

import json
import resource
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from h5py import h5d, h5s, h5t

from opkit.datasets.importers import apart
from opkit.datasets.importers.convert import open_source
from opkit.datasets.importers.source import Source
from opkit.errors import BundleError, DataError, OpkitInputError
from opkit.surrogate import surrogate
from opkit.surrogate.bundle import files as bundle

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "bundles"

WHOLE = (slice(None),)


def values(source: Source, name: str) -> np.ndarray:
    """All of an array."""
    array = source.arrays[name]
    return array.read(WHOLE * len(array.shape))


def test_of_an_npz_only_the_members_that_are_asked_for_are_read(tmp_path: Path) -> None:
    """The second member is damaged: that is no fault of the first."""
    path = tmp_path / "a.npz"
    one, two = np.arange(500.0), np.arange(900.0)
    np.savez(path, one=one, two=two)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.getinfo("two.npy").header_offset + 2000] ^= 1
    path.write_bytes(content)
    source = open_source(path)
    np.testing.assert_array_equal(values(source, "one"), one)
    with pytest.raises(DataError, match="two"):
        values(source, "two")
    np.testing.assert_array_equal(values(source, "one"), one)
    source.close()
    with pytest.raises(DataError, match="closed"):
        values(source, "one")


def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    with (
        zipfile.ZipFile(path, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("a.npy", archive.read("a.npy"))
    with pytest.raises(DataError, match="twice"):
        open_source(path)


def test_tensors_are_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    sound = torch.linspace(0, 1, 24).reshape(2, 3, 4)
    torch.save(
        {
            "sound": sound,
            "turned": sound.transpose(0, 2),
            "half": sound.bfloat16(),
            "repeated": torch.zeros(1).expand(10**7, 64, 64),
            "sparse": sound[0].to_sparse(),
            "meta": torch.empty(3, device="meta"),
            "complex": sound.to(torch.complex64),
            "small": sound.to(torch.float8_e4m3fn),
            "text": "hello",
        },
        path,
    )
    source = open_source(path)
    assert set(source.arrays) == {"sound", "turned", "half"}
    np.testing.assert_array_equal(values(source, "sound"), sound.numpy())
    np.testing.assert_array_equal(
        values(source, "turned"), sound.numpy().transpose(2, 1, 0)
    )
    np.testing.assert_array_equal(
        values(source, "half"), sound.bfloat16().float().numpy()
    )
    assert "strides" in source.refused["repeated"]
    assert "sparse" in source.refused["sparse"]
    assert "without values" in source.refused["meta"]


def test_a_flipped_bit_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(500.0, 510.0).numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="checksum"):
        open_source(path)


def test_what_matlab_stores_as_numbers_and_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, kind in (
            ("number", b"double"),
            ("words", b"char"),
            ("handle", b"function_handle"),
            ("date", b"datetime"),
            ("text", b"string"),
            ("nothing", b"double"),
        ):
            file[name] = np.array([[1, 2, 3]], "u2")
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        file["nothing"].attrs["MATLAB_empty"] = np.uint8(1)
        file["plain"] = np.ones((2, 3))
    source = open_source(path)
    assert set(source.arrays) == {"number", "plain"}
    assert "char" in source.refused["words"]
    assert "empty" in source.refused["nothing"]


def test_old_matlab_files_hold_numbers_only(tmp_path: Path) -> None:
    from scipy.io import savemat

    path = tmp_path / "a.mat"
    held = {
        "a": np.arange(6.0).reshape(2, 3),
        "words": "text",
        "none": np.empty((0, 0)),
    }
    savemat(path, held)
    source = open_source(path)
    assert set(source.arrays) == {"a"}
    assert "char" in source.refused["words"] and "empty" in source.refused["none"]


def test_enumerations_and_bits_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    kind = h5py.enum_dtype({"red": 0, "green": 1}, "i1")
    with h5py.File(path, "w") as file:
        file["a"] = np.ones((2, 3))
        file.create_dataset("colour", data=np.zeros(3, "i1"), dtype=kind)
        file["flag"] = np.array([True, False])
        h5d.create(file.id, b"bits", h5t.STD_B8LE, h5s.create_simple((3,)))
    source = open_source(path)
    assert set(source.arrays) == {"a", "flag"}
    assert "red" in source.refused["colour"] and "bits" in source.refused["bits"]
    np.testing.assert_array_equal(values(source, "a"), np.ones((2, 3)))


def test_a_large_chunk_that_is_almost_empty_is_refused(tmp_path: Path) -> None:
    """Of 288 MiB of zeros 300 kB are stored: a thousandth."""
    import zlib

    path = tmp_path / "a.mat"
    shape = (36, 1024, 1024)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(8 << 20)) for _ in range(36))
    packed += packer.flush()
    with h5py.File(path, "w", userblock_size=512) as file:
        item = file.create_dataset("a", shape, "f8", chunks=shape, compression=1)
        item.id.write_direct_chunk((0, 0, 0), packed)
    source = open_source(path)
    with pytest.raises(DataError, match="would unpack"):
        source.arrays["a"].read((slice(0, 1),) * 3)


def test_a_file_of_holes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 32,)}
        np.lib.format.write_array_header_1_0(file, shape)
        file.truncate(file.tell() + (8 << 32))
    with pytest.raises(DataError, match="would unpack"):
        open_source(path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(60)", "takes over 1 s: the disk does not answer"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("raise SystemExit('no such library')", "no such library"),
        ("import sys; sys.stdout.write('9' * 8)", "ended"),
    ],
)
def test_a_reader_that_hangs_or_crashes_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(3.0))
    with monkeypatch.context() as patch:
        patch.setattr(apart, "python", lambda _: [sys.executable, "-c", code])
        patch.setattr(apart, "STARTING", 1.0 if "sleep" in code else 20.0)
        patch.setattr(apart, "_children", [])
        with pytest.raises(DataError, match=said) as refused:
            open_source(path)
        assert "\n" not in str(refused.value)
    np.testing.assert_array_equal(values(open_source(path), "array"), np.arange(3.0))


SLOW = """
import time
from opkit.datasets.importers import apart_child, npz
opened = npz.open_source
def slow(*words):
    end = time.monotonic() + {seconds}
    while time.monotonic() < end:
        {meanwhile}
    return opened(*words)
npz.open_source = slow
apart_child.main()
"""


@pytest.mark.parametrize(
    ("meanwhile", "seconds", "stall", "said"),
    [
        ("time.sleep(0.1)", 4, 300.0, ""),  # others have the processor
        ("pass", 60, 300.0, "over 1 s of processor time"),
        ("time.sleep(0.1)", 600, 2.0, "over 2 s: the disk does not answer"),
    ],
)
def test_a_reader_may_use_so_much_of_the_processor_and_wait_for_longer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
    seconds: float,
    stall: float,
    said: str,
) -> None:
    path, numbers = tmp_path / "a.npz", np.arange(3.0)
    np.savez(path, a=numbers)
    code = SLOW.format(seconds=seconds, meanwhile=meanwhile)
    limits = {"SECONDS": 1.0, "STALL": stall, "SHARE": 0.0, "_children": []}
    for name, value in limits.items():
        monkeypatch.setattr(apart, name, value)
    monkeypatch.setattr(apart, "python", lambda _: [sys.executable, "-c", code])
    if said:
        with pytest.raises(DataError, match=said):
            open_source(path)
    else:
        np.testing.assert_array_equal(values(open_source(path), "a"), numbers)
    for child in apart._children:
        child.end()


def claiming(bundle_folder: Path, to: Path, change: Callable[[dict], object]) -> Path:
    """A copy of a bundle with another record, sealed as opkit seals it."""
    shutil.copytree(bundle_folder, to)
    record = json.loads((to / bundle.CONFIG).read_text())
    del record["sha256"]
    change(record)
    (to / bundle.CONFIG).write_bytes(bundle._seal(record))
    return to


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_channels": 100_000},
        {"hidden_channels": 10**9},
        {"n_layers": 10**9},
        {"n_modes": [10**6, 10**6]},
    ],
)
def test_a_bundle_that_claims_a_huge_model_is_refused_before_memory_is_taken(
    tmp_path: Path, options: dict[str, object]
) -> None:
    """Such weights would take 80 GB and more."""
    path = claiming(
        GOLDEN / "fno", tmp_path / "b", lambda r: r["options"].update(options)
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OpkitInputError, match=r"fit|modes|parameters"):
        surrogate.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_bundle_that_claims_a_huge_grid_is_refused(tmp_path: Path) -> None:
    def change(record: dict) -> None:
        record["shape"]["shape"] = [10**6, 10**6]

    path = claiming(GOLDEN / "fno", tmp_path / "b", change)
    with pytest.raises(BundleError, match="refused"):
        surrogate.load(path)
