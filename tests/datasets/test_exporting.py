"""Round trips: what we export comes back unchanged, and other tools read our files."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

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
