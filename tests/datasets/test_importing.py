"""Import: what other groups' files hold arrives unchanged, and faults are one line."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import netcdf_file, savemat

from opkit.case import load_case
from opkit.case.data import header_of
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.importers.convert import import_data, list_arrays
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.generate import generate
from opkit.generate.validate import validate

DARCY = Path(__file__).parents[3] / "shared" / "data" / "darcy_16"
Array = NDArray[Any]
PAIR = [
    FieldMap.parse("permeability=a:sample,y,x", "input"),
    FieldMap.parse("pressure=u:sample,y,x", "output"),
]


def pair() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "a": rng.random((6, 4, 5)).astype(np.float32),
        "u": rng.random((6, 4, 5)).astype(np.float32),
    }


def write(path: Path, arrays: dict[str, Array]) -> Path:
    """Write arrays in the format of the suffix, with that format's own library."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    elif path.suffix == ".pt":
        torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, path)
    elif path.name.endswith("73.mat"):  # MATLAB 7.3: HDF5, axes reversed
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array.T
    elif path.suffix == ".mat":
        savemat(path, arrays)
    elif path.suffix == ".cdf":
        with netcdf_file(path, "w") as file:
            for name, array in arrays.items():
                dims = tuple(f"{name}{k}" for k in range(array.ndim))
                for dim, length in zip(dims, array.shape, strict=True):
                    file.createDimension(dim, length)
                file.createVariable(name, "f", dims)[:] = array
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


NAMES = ["d.npz", "d.pt", "d.mat", "d73.mat", "d.cdf", "d.h5"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_arrives_unchanged(tmp_path: Path, name: str) -> None:
    arrays = pair()
    source = write(tmp_path / name, arrays)
    assert {a.name: a.shape for a in list_arrays(source)} == {
        "a": (6, 4, 5),
        "u": (6, 4, 5),
    }
    out = import_data(source, tmp_path / "out.h5", PAIR, held_out={"test": 2})
    with DataFile(out) as file:
        np.testing.assert_array_equal(
            file.read("permeability", slice(None)), arrays["a"]
        )
        np.testing.assert_array_equal(file.read("pressure", slice(None)), arrays["u"])
        assert file.indices("train").tolist() == [0, 1, 2, 3]
        assert file.indices("test").tolist() == [4, 5]
        assert len(list(file.verify())) == 6


def test_axes_are_put_in_order_and_frames_cut(tmp_path: Path) -> None:
    """The published Navier-Stokes layout: u (sample, x, y, time), time last."""
    u = np.random.default_rng(1).random((3, 4, 5, 7)).astype(np.float32)
    source = write(tmp_path / "ns.mat", {"u": u})
    fields = [
        FieldMap.parse("initial_vorticity=u:sample,x,y,time@0", "input"),
        FieldMap.parse("vorticity=u:sample,x,y,time@2:", "output"),
    ]
    ends = {"time": (0.0, 6.0), "y": (0.0, 0.8)}  # of the array, before it is cut
    out = import_data(source, tmp_path / "out.h5", fields, coordinates=ends)
    with DataFile(out) as file:
        assert file.header.variable("vorticity").dims == ("time", "y", "x")
        np.testing.assert_array_equal(
            file.read("vorticity", 1), u[1].transpose(2, 1, 0)[2:]
        )
        np.testing.assert_array_equal(
            file.read("initial_vorticity", 2), u[2, :, :, 0].T
        )
        np.testing.assert_allclose(
            file.header.coordinates["time"].values, [2, 3, 4, 5, 6], rtol=1e-15
        )


def groups(path: Path, components: int, samples: int = 3) -> Array:
    """PDEBench's diffusion-reaction: a group a sample, lzf, the options as a text."""
    shape = (samples, 4, 5, 6, components)
    data = np.random.default_rng(2).random(shape).astype(np.float32)
    axes = {
        "x": np.linspace(-0.9, 0.9, 5),
        "y": np.linspace(-0.9, 0.8, 6),
        "t": np.arange(4.0),
    }
    with h5py.File(path, "w") as file:
        for i, sample in enumerate(data):
            file.create_dataset(f"{i:04d}/data", data=sample, compression="lzf")
            for name, values in axes.items():
                where = f"{i:04d}/grid/{name}"
                file.create_dataset(where, data=values, dtype="f4", compression="lzf")
            file[f"{i:04d}"].attrs["config"] = "sim:\n  Du: 0.001\n"
    return data


@pytest.mark.parametrize("components", [1, 2])
def test_pdebench_with_a_group_a_sample(tmp_path: Path, components: int) -> None:
    source = tmp_path / "2D_diff-react_NA_NA.h5"
    data = groups(source, components)
    last = "data" if components == 1 else "data_1"
    fields = [
        FieldMap.parse(f"initial_u={last}@0", "input"),
        FieldMap.parse(f"u={last}@1:", "output"),
    ]
    out = import_data(source, tmp_path / "out.h5", fields, held_out={"test": 1})
    with DataFile(out) as file:
        expected = data[..., -1].swapaxes(2, 3)  # (sample, time, y, x)
        np.testing.assert_array_equal(file.read("u", slice(None)), expected[:, 1:])
        np.testing.assert_array_equal(file.read("initial_u", 2), expected[2, 0])
        axes = file.header.coordinates
        np.testing.assert_allclose(axes["x"].values, np.linspace(-0.9, 0.9, 5), 1e-6)
        assert axes["time"].values.tolist() == [1, 2, 3]
        about = file.header.provenance["source"]["train"]["attributes"]
        assert "Du: 0.001" in about["config"]


@pytest.mark.parametrize("fault", ["shape", "axis"])
def test_groups_that_differ_are_refused(tmp_path: Path, fault: str) -> None:
    source = tmp_path / "a.h5"
    groups(source, 1)
    with h5py.File(source, "r+") as file:
        if fault == "shape":
            del file["0001/data"]
            file["0001/data"] = np.ones((4, 5, 5, 1), np.float32)
        else:
            file["0002/grid/x"][2] += 0.1
    with pytest.raises(DataError, match="sample 0001" if fault == "shape" else "axis"):
        list_arrays(source)


def test_pdebench_incompressible_flow(tmp_path: Path) -> None:
    """Velocity and particles with time, a constant force, one t a sample."""
    rng = np.random.default_rng(3)
    source = tmp_path / "ns_incom_inhom_2d_512-0.h5"
    shapes = {"velocity": (2, 3, 5, 6, 2), "particles": (2, 3, 5, 6, 1)}
    arrays = {k: rng.random(v).astype(np.float32) for k, v in shapes.items()}
    arrays["force"] = rng.random((2, 5, 6, 2)).astype(np.float32)
    with h5py.File(source, "w") as file:
        for name, array in arrays.items():
            chunks = (1, 1, *array.shape[2:])
            file.create_dataset(
                name, data=array, chunks=chunks, compression="lzf", shuffle=True
            )
        file["t"] = np.tile(np.array([0.0, 0.5, 1.0], np.float32), (2, 1))
        file.attrs["config"], file.attrs["latestIndex"] = "NU: 0.01\n", 2
    assert {a.name for a in list_arrays(source)} == {
        "velocity_x", "velocity_y", "force_x", "force_y", "particles",
    }  # fmt: skip
    fields = [
        FieldMap.parse("forcing=force_y", "input"),
        FieldMap.parse("initial_velocity=velocity_y@0", "input"),
        FieldMap.parse("velocity=velocity_y@1:", "output"),
        FieldMap.parse("density=particles@1:", "output"),
    ]
    out = import_data(source, tmp_path / "out.h5", fields)
    with DataFile(out) as file:
        for name, array in {
            "forcing": arrays["force"][..., 1],
            "initial_velocity": arrays["velocity"][:, 0, ..., 1],
            "velocity": arrays["velocity"][:, 1:, ..., 1],
            "density": arrays["particles"][:, 1:, ..., 0],
        }.items():
            values = file.read(name, slice(None))
            np.testing.assert_array_equal(values, array.swapaxes(-1, -2))
        assert file.header.coordinates["time"].values.tolist() == [0.5, 1.0]


def test_a_case_can_be_attached(tmp_path: Path) -> None:
    """What the case's solver made passes; other grids and axes do not fit."""
    path = generate(
        load_case("darcy", ("resolution=16",)), tmp_path / "a.h5", samples=4
    )
    with DataFile(path) as file:
        arrays = {n: file.read(n, slice(None)) for n in ("permeability", "pressure")}
        like = file.header
    source = write(tmp_path / "d.npz", arrays)
    fields = [
        FieldMap.parse("permeability=permeability:sample,y,x", "input"),
        FieldMap.parse("pressure=pressure:sample,y,x", "output"),
    ]
    out = import_data(source, tmp_path / "b.h5", fields, like=like)
    checks = {check.name: check.passed for check in validate(out, samples=None)}
    assert checks["case"] and checks["residual"] and checks["inputs"] is None
    assert FieldDataset(out, "train").header.case == like.case
    with pytest.raises(DataError, match="axis x is from 0 to 1 there"):
        ends = {"x": (0.0, 2.0)}
        import_data(source, tmp_path / "c.h5", fields, like=like, coordinates=ends)
    with pytest.raises(DataError, match="permeability is input y,x 17x17 there"):
        other = load_case("darcy", ("resolution=17",))
        wrong = header_of(other, other.build_solver(), 0, None, "float32")
        import_data(source, tmp_path / "c.h5", fields, like=wrong)
    assert not (tmp_path / "c.h5").exists()


def test_files_for_splits_and_a_field_common_to_all(tmp_path: Path) -> None:
    arrays = pair()
    forcing = np.arange(20, dtype=np.float32).reshape(4, 5)
    train = write(tmp_path / "train.npz", {**arrays, "f": forcing})
    test = write(
        tmp_path / "test.npz", {"a": arrays["u"], "u": arrays["a"], "f": forcing}
    )
    fields = [*PAIR, FieldMap.parse("forcing=f:y,x", "input")]
    out = import_data({"train": train, "test": test}, tmp_path / "out.h5", fields)
    with DataFile(out) as file:
        np.testing.assert_array_equal(file.read("forcing", 9), forcing)
        np.testing.assert_array_equal(file.read("pressure", 6), arrays["a"][0])
        assert file.indices("test").tolist() == list(range(6, 12))


@pytest.mark.skipif(not DARCY.exists(), reason="another group's data, not here")
def test_darcy_16(tmp_path: Path) -> None:
    files = {s: DARCY / f"darcy_{s}_16.pt" for s in ("train", "test")}
    fields = [
        FieldMap.parse("permeability=x:sample,y,x", "input"),
        FieldMap.parse("pressure=y:sample,y,x", "output"),
    ]
    out = import_data(files, tmp_path / "d.h5", fields, held_out={"validation": 100})
    sizes = {"train": 900, "validation": 100, "test": 50}
    for split, size in sizes.items():
        assert len(FieldDataset(out, split)) == size
    published = torch.load(files["test"], weights_only=True)
    last = FieldDataset(out, "test")[49]
    assert torch.equal(last["inputs"][0], published["x"][49].float())
    assert torch.equal(last["outputs"][0], published["y"][49])


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


def hostile(kind: str, folder: Path, canary: Path) -> Path:
    path = folder / "bad.npz"
    if kind == "object array":
        np.savez(path, a=np.array([Payload(canary)], object), allow_pickle=True)
    elif kind == "bomb":
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a.npy", "w", force_zip64=True) as file,
        ):
            head = {"descr": "<f4", "fortran_order": False, "shape": (1 << 27,)}
            np.lib.format.write_array_header_1_0(file, head)
            for _ in range(512):
                file.write(bytes(1 << 20))
    elif kind == "header":
        with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
            head = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
            np.lib.format.write_array_header_1_0(file, head)
    elif kind == "not a zip":
        path.write_bytes(b"PK\3\4 no")
    elif kind == "pickled pt":
        path = folder / "bad.pt"
        torch.save({"a": Payload(canary)}, path)
    elif kind == "bare pickle":
        path = folder / "bad.pt"
        path.write_bytes(pickle.dumps(Payload(canary)))
    elif kind == "broken mat":
        path = folder / "bad.mat"
        savemat(path, pair())
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "suffix":
        path = folder / "bad.xyz"
        path.touch()
    elif kind == "empty npz":
        np.savez(path)
    elif kind == "broken cdf":
        path = folder / "bad.nc"
        path.write_bytes(b"CDF\x01" + bytes(3))
    elif kind == "no file":
        path = folder / "nowhere.npz"
    return path


HOSTILE = [
    "object array", "bomb", "header", "not a zip", "pickled pt", "bare pickle",
    "broken mat", "suffix", "empty npz", "broken cdf", "no file",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch, of bad.pt
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_one_line(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    path = hostile(kind, tmp_path, canary)
    with pytest.raises(DataError) as caught:
        import_data(path, tmp_path / "out.h5", PAIR)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not canary.exists()
    assert not list(tmp_path.glob("*out.h5*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pressure=v:sample,y,x", "no array 'v'"),
        ("pressure=u:sample,y", "not the axes"),
        ("pressure=u:sample,y,w", "use each once"),
        ("pressure=u:sample,y,y", "use each once"),
        ("pressure=u", "axes of u"),
        ("pressure=u:sample,channel,x", "length 1"),
        ("pressure=u:sample,y,x@0", "without time"),
        ("pressure=u:time,y,x@9", "no frame 9"),
        ("Pressure=u:sample,y,x", "write NAME=ARRAY"),
        ("pressure=u:sample,y,x@a", "write NAME=ARRAY"),
        ("split=u:sample,y,x", "not a free"),
        ("permeability=u:sample,y,x", "appears twice"),
        ("pressure=u:y,sample,x", "samples"),
    ],
)
def test_maps_that_do_not_fit(tmp_path: Path, text: str, says: str) -> None:
    source = write(tmp_path / "d.npz", pair())
    with pytest.raises(DataError, match=says):
        field = FieldMap.parse(text, "output")
        import_data(source, tmp_path / "out.h5", [PAIR[0], field])
    assert not (tmp_path / "out.h5").exists()


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    arrays = pair()
    arrays["u"][4, 1, 1] = np.inf
    source = write(tmp_path / "d.npz", arrays)
    with pytest.raises(DataError, match=r"d.npz: sample 4: pressure is missing"):
        import_data(source, tmp_path / "out.h5", PAIR)
    assert not list(tmp_path.glob("*out*"))


def test_splits_that_do_not_fit(tmp_path: Path) -> None:
    source = write(tmp_path / "d.npz", pair())
    out = tmp_path / "out.h5"
    with pytest.raises(DataError, match="split"):
        import_data({"training": source}, out, PAIR)
    with pytest.raises(DataError, match="6 of 6"):
        import_data(source, out, PAIR, held_out={"test": 6})
    with pytest.raises(DataError, match="of its own"):
        both = {"train": source, "test": source}
        import_data(both, out, PAIR, held_out={"test": 2})
    out.touch()
    with pytest.raises(DataError, match="exists"):
        import_data(source, out, PAIR)
