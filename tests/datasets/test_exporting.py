"""Round trips: what we export comes back unchanged, and other tools read our files."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import opkit
from opkit.case.record import Case
from opkit.datasets.exporters.convert import export_data
from opkit.datasets.header import Header, Mesh, VariableSpec
from opkit.datasets.importers.convert import import_data
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError
from opkit.generate import generate

Heat = Callable[..., Case]
NAMES = ("initial_temperature", "temperature")


@pytest.fixture
def heat_file(heat: Heat, tmp_path: Path) -> Path:
    return generate(heat(8), tmp_path / "heat.h5")


def assert_same_fields(a: Path, b: Path) -> None:
    with DataFile(a) as left, DataFile(b) as right:
        for name in NAMES:
            np.testing.assert_array_equal(
                left.read(name, slice(None)), right.read(name, slice(None))
            )
        for split in ("train", "validation", "test"):
            assert left.indices(split).tolist() == right.indices(split).tolist()
        for axis in ("time", "y", "x"):
            np.testing.assert_allclose(
                left.header.coordinates[axis].values,
                right.header.coordinates[axis].values,
                rtol=1e-7,  # The Well's coordinates are float32
            )


def test_the_well_and_back(heat_file: Path, tmp_path: Path) -> None:
    paths = export_data(heat_file, tmp_path / "well", "well")
    assert [p.name for p in paths] == ["train.hdf5", "validation.hdf5", "test.hdf5"]
    with h5py.File(paths[0]) as file:
        assert file.attrs["n_trajectories"] == 8
        assert file.attrs["n_spatial_dims"] == 2
        assert list(file["t0_fields"].attrs["field_names"]) == list(NAMES)
        field = file["t0_fields/temperature"]
        assert field.shape == (8, 4, 8, 8)  # sample, time, x, y
        assert bool(field.attrs["time_varying"])
        assert not file["t0_fields/initial_temperature"].attrs["time_varying"]
        assert file["boundary_conditions/x_periodic"].attrs["bc_type"] == "PERIODIC"
        with DataFile(heat_file) as source:
            np.testing.assert_array_equal(
                field[3], source.read("temperature", 3).transpose(0, 2, 1)
            )
    fields = [
        FieldMap.parse(f"{NAMES[0]}={NAMES[0]}", "input"),
        FieldMap.parse(f"{NAMES[1]}={NAMES[1]}", "output"),
    ]
    back = import_data({p.stem: p for p in paths}, tmp_path / "back.h5", fields)
    assert_same_fields(heat_file, back)


def test_pdebench_and_back(heat_file: Path, tmp_path: Path) -> None:
    paths = export_data(heat_file, tmp_path / "bench", "pdebench")
    with h5py.File(paths[2]) as file:
        assert file["tensor"].shape == (2, 5, 8, 8)  # the initial state comes first
        assert file["t-coordinate"][:].tolist() == [0, 1, 2, 3, 4]
    fields = [
        FieldMap.parse("initial_temperature=tensor@0", "input"),
        FieldMap.parse("temperature=tensor@1:", "output"),
    ]
    back = import_data({p.stem: p for p in paths}, tmp_path / "back.h5", fields)
    assert_same_fields(heat_file, back)


def test_zarr_holds_the_same(heat_file: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    (path,) = export_data(heat_file, tmp_path / "heat.zarr", "zarr")
    group = zarr.open_group(path, mode="r", zarr_format=3)
    with DataFile(heat_file) as file:
        assert group.attrs["content_hash"] == file.content_hash()
        for name in NAMES:
            stored = group[name]
            assert stored.metadata.dimension_names[0] == "sample"
            np.testing.assert_array_equal(stored[:], file.read(name, slice(None)))
        np.testing.assert_array_equal(group["split"][:], file.header.split_codes)


def test_exports_that_cannot_be(heat_file: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="exists"):
        export_data(heat_file, tmp_path / "there", "well")
    with pytest.raises(DataError, match="choose from"):
        export_data(heat_file, tmp_path / "x", "parquet")  # type: ignore[arg-type]
    mesh = make_mesh_file(tmp_path / "mesh.h5")
    for format in ("well", "pdebench"):
        with pytest.raises(DataError, match="no meshes"):
            export_data(mesh, tmp_path / "x", format)  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


READ = """
import sys, numpy as np, xarray
with xarray.open_dataset(sys.argv[1], engine=sys.argv[2]) as data:
    assert data.temperature.dims == ("sample", "time", "y", "x")
    assert data.temperature.attrs["units"] == "K"
    print(data.attrs["content_hash"])
    np.savez(sys.argv[3], temperature=data.temperature[7], x=data.x)
"""


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_reads_it(heat_file: Path, tmp_path: Path, engine: str) -> None:
    pytest.importorskip("netCDF4" if engine == "netcdf4" else engine)
    # in a process of its own: netCDF4 and FEniCSx bring different libraries of HDF5
    out = tmp_path / "read.npz"
    command = [sys.executable, "-c", READ, str(heat_file), engine, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with DataFile(heat_file) as f, np.load(out) as read:
        np.testing.assert_array_equal(read["temperature"], f.read("temperature", 7))
        np.testing.assert_array_equal(read["x"], f.header.coordinates["x"].values)
        assert done.stdout.strip() == f.content_hash()


@pytest.mark.skipif(shutil.which("ncdump") is None, reason="ncdump is not installed")
def test_ncdump_reads_it(heat_file: Path) -> None:
    command = ["ncdump", "-v", "time,split", str(heat_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "float temperature(sample, time, y, x) ;" in done.stdout
    assert "time = 1, 2, 3, 4 ;" in done.stdout
    assert "split = 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2 ;" in done.stdout


def make_mesh_file(path: Path) -> Path:
    """Two triangles, permeability on cells, pressure on nodes."""
    points = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    mesh = Mesh(points, np.array([[0, 1, 2], [0, 2, 3]]))
    variables = (
        VariableSpec("permeability", "input", ("cell",), (2,)),
        VariableSpec("pressure", "output", ("node",), (4,)),
    )
    header = Header({}, variables, {}, {"train": np.arange(3)}, mesh=mesh)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        fields = {v.name: rng.random((3, *v.shape), np.float32) for v in variables}
        writer.put(slice(0, 3), np.arange(3), fields)
        writer.finish()
    return path


def test_mesh_as_ugrid(tmp_path: Path) -> None:
    path = make_mesh_file(tmp_path / "mesh.h5")
    with DataFile(path) as file:
        assert len(list(file.verify())) == 3
        assert file.header.mesh is not None
        assert file.header.mesh.cells.tolist() == [[0, 1, 2], [0, 2, 3]]
        assert file.header.mesh.points[2].tolist() == [1, 1]
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data.pressure.attrs["mesh"] == "mesh"
        assert data.pressure.attrs["location"] == "node"
        assert data.permeability.attrs["location"] == "face"
        assert data.mesh.attrs["cf_role"] == "mesh_topology"
        assert data.cell_nodes.dims == ("cell", "corner")


def test_numbers_vectors_series_and_places_in_the_well(tmp_path: Path) -> None:
    """Scalars and a vector field there, and the same numbers back, to float32."""
    rng = np.random.default_rng(0)
    arrays = {
        "load": (("sample",), rng.random(6), {"units": "N"}),
        "modes": (("sample", "component"), rng.random((6, 3))),
        "force": (("sample", "time"), rng.random((6, 4))),
        "drag": (("sample",), rng.random(6)),
        "lift": (("sample", "component"), rng.random((6, 2))),
        "at": (("sample", "y", "x", "component"), _sheared(6)),
        "u": (("sample", "time", "y", "x"), rng.random((6, 4, 3, 5))),
    }
    path = opkit.save(
        arrays, tmp_path / "d.h5", ["load", "modes", "force"], ["u", "drag", "lift"],
        points=["at"], axes={"time": (0, 1)},
    )  # fmt: skip
    (made,) = export_data(path, tmp_path / "well", "well")
    with h5py.File(made) as file:
        scalars = file["scalars"]
        names = ["load", "modes_0", "modes_1", "modes_2", "force", "drag"]
        assert list(scalars.attrs["field_names"]) == [*names, "lift_0", "lift_1"]
        assert scalars["force"].attrs["time_varying"]
        assert not scalars["load"].attrs["time_varying"]
        assert list(file["t0_fields"].attrs["field_names"]) == ["u"]
        assert file["t1_fields/points"].shape == (6, 5, 3, 2)  # sample, x, y, component
    inputs = [FieldMap.parse(f"{n}={n}", "input") for n in ("load", "modes_1", "force")]
    outputs = [FieldMap.parse(f"{n}={n}", "output") for n in ("u", "lift_0")]
    points = [FieldMap.parse(f"points=points_{a}", "input") for a in "xy"]
    back = import_data(made, tmp_path / "b.h5", [*inputs, *outputs], points=points)
    exact = {k: v[1].astype(np.float32) for k, v in arrays.items()}
    with DataFile(back) as file:
        for name, values in (
            ("load", exact["load"]),
            ("modes_1", exact["modes"][:, 1]),
            ("force", exact["force"]),
            ("lift_0", exact["lift"][:, 0]),
            ("u", exact["u"]),
            ("points", exact["at"]),
        ):
            np.testing.assert_array_equal(file.read(name, slice(None)), values)
        assert file.header.variable("load").units == "N"


def _sheared(samples: int) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(0, 1, 3), np.linspace(0, 1, 5), indexing="ij")
    return np.stack([np.stack([x + 0.1 * k * y, y], -1) for k in range(samples)])


def test_scalars_of_the_well_that_are_the_same_for_all_samples(
    heat_file: Path, tmp_path: Path
) -> None:
    """A file of The Well states the viscosity of its run once."""
    (made, *_) = export_data(heat_file, tmp_path / "well", "well")
    with h5py.File(made, "r+") as file:
        once = file["scalars"].create_dataset("viscosity", data=np.float32(0.25))
        once.attrs["sample_varying"] = once.attrs["time_varying"] = False
        ramp = file["scalars"].create_dataset("ramp", data=np.arange(4, dtype="f4"))
        ramp.attrs["sample_varying"], ramp.attrs["time_varying"] = False, True
    fields = [FieldMap.parse(f"{n}={n}", "input") for n in ("viscosity", "ramp")]
    fields.append(FieldMap.parse("temperature=temperature", "output"))
    back = import_data(made, tmp_path / "back.h5", fields)
    with DataFile(back) as file:
        assert file.read("viscosity", slice(None)).tolist() == [0.25] * 8
        assert file.read("ramp", slice(None)).tolist() == [[0, 1, 2, 3]] * 8
    with h5py.File(made, "r+") as file:
        file["scalars/ramp"].attrs["sample_varying"] = True
    with pytest.raises(DataError, match=r"ramp has shape .4,., not the axes sample"):
        import_data(made, tmp_path / "other.h5", fields)
