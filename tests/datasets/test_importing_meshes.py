"""`opkit import` of files of meshes, one sample each, and of arrays of coordinates."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from fixtures.command_line import Shown, run
from scipy.spatial import Delaunay

import opkit
from opkit.base.arrays import Array, Indices
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.generate.validate import validate

SINGLE = 1e-6
"""Fields and points of items are in single precision."""


def triangles(k: int) -> tuple[Array, Indices]:
    """A mesh of [0, 1 + k] x [0, 1]; 9 + k inner nodes."""
    rng = np.random.default_rng(k)
    corners = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])
    points = np.concatenate([corners, rng.uniform(0.1, 0.9, (9 + k, 2))])
    cells = Delaunay(points).simplices.astype(np.int64)
    return points * [1 + k, 1], cells


def check_plates(path: Path, order: Sequence[int]) -> None:
    """Areas 1 + k, and ∫ (2 + x) = (1 + k) (2 + (1 + k) / 2), by the weights."""
    samples = FieldDataset(path, None)
    assert len(samples) == len(order)
    for i, k in enumerate(order):
        item = samples[i]
        points, _ = triangles(k)
        np.testing.assert_allclose(item["points"], points, rtol=SINGLE, atol=SINGLE)
        weights = item["weights"].double()
        assert float(weights.sum()) == pytest.approx(1 + k, rel=SINGLE)
        exact = (1 + k) * (2 + (1 + k) / 2)
        assert float(weights @ item["outputs"][0].double()) == pytest.approx(
            exact, rel=SINGLE
        )
        assert item["parameters"].tolist() == [float(k)]
    assert all(finding.passed is not False for finding in validate(path))


def write_npz(folder: Path, k: int, number: int) -> None:
    points, cells = triangles(k)
    np.savez(
        folder / f"plate_{number}.npz", points=points, cells=cells,
        u=2 + points[:, 0], load=np.array(float(k)), e=np.arange(len(cells)),
    )  # fmt: skip


def test_a_folder_of_npz(tmp_path: Path, capsys: Shown) -> None:
    """In the order of their numbers: 2 before 10."""
    folder = tmp_path / "plates"
    folder.mkdir()
    order = (3, 0, 2, 1)
    for k, number in zip(order, (1, 2, 10, 11), strict=True):
        write_npz(folder, k, number)
    out = tmp_path / "out.h5"
    run(
        capsys, "import", out, "--train", folder, "--input", "load=load",
        "--output", "u=u", "--hold-out", 1,
    )  # fmt: skip
    with DataFile(out) as file:
        assert file.header.ragged
        assert file.header.splits["validation"].tolist() == [3]
        for row, k in enumerate(order):
            assert np.array_equal(file.mesh(row).points, triangles(k)[0])
    check_plates(out, order)


@pytest.mark.fem
def test_folders_of_vtu_and_msh(tmp_path: Path, capsys: Shown) -> None:
    """Cells numbered round either way; fields of a .msh lie in the .npz beside it."""
    meshio = pytest.importorskip("meshio")
    vtu, msh = tmp_path / "vtu", tmp_path / "msh"
    vtu.mkdir()
    msh.mkdir()
    for k in range(3):
        points, cells = triangles(k)
        mixed = cells.copy()
        mixed[::2] = mixed[::2, ::-1]
        u = 2 + points[:, 0]
        solid = np.concatenate([points, np.zeros((len(points), 1))], 1)
        load = np.full(len(points), float(k))
        meshio.Mesh(
            solid, [("triangle", mixed)], point_data={"u": u, "load": load}
        ).write(vtu / f"{k}.vtu")
        ends = [[0, 1], [2, 3]]
        meshio.Mesh(
            solid, [("triangle", cells), ("line", ends)],
            cell_data={
                "gmsh:physical": [np.full(len(cells), 9), np.array([4, 2])],
                "gmsh:geometrical": [np.full(len(cells), 1), np.array([1, 2])],
            },
            field_data={"low": [4, 1], "high": [2, 1], "plate": [9, 2]},
        ).write(msh / f"{k}.msh", file_format="gmsh22", binary=False)  # fmt: skip
        np.savez(msh / f"{k}.npz", u=u, load=np.array(float(k)))
    out = tmp_path / "vtu.h5"
    run(
        capsys, "import", out, "--train", vtu, "--input", "load=load",
        "--output", "u=u",
    )  # fmt: skip
    samples = FieldDataset(out, None)
    for k in range(3):
        assert float(samples[k]["weights"].sum()) == pytest.approx(1 + k, rel=SINGLE)
    out = tmp_path / "msh.h5"
    run(
        capsys, "import", out, "--train", msh, "--input", "load=load",
        "--output", "u=u",
    )  # fmt: skip
    check_plates(out, range(3))
    with DataFile(out) as file:
        groups = file.mesh(1).groups
        assert groups is not None
        names = [groups.names[part] for part in groups.parts]
        assert dict(zip(names, groups.facets.tolist(), strict=True)) == {
            "low": [0, 1],
            "high": [2, 3],
        }


@pytest.mark.fem
def test_clouds_in_vtu(tmp_path: Path, capsys: Shown) -> None:
    """One file or several: a ragged file; one mesh for all they cannot be."""
    meshio = pytest.importorskip("meshio")
    folder, out = tmp_path / "clouds", tmp_path / "out.h5"
    folder.mkdir()
    places = np.random.default_rng(0).random((2, 9, 3))
    for k, points in enumerate(places):
        dots = [("vertex", np.arange(9)[:, None])]
        meshio.Mesh(points, dots, {"u": points[:, 2]}).write(folder / f"{k}.vtu")
    for files, count in ((folder, 2), (folder / "1.vtu", 1)):
        run(capsys, "import", out, "--train", files, "--output", "u=u", "--force")
        item = FieldDataset(out, None)[count - 1]
        np.testing.assert_allclose(item["points"], places[1], rtol=SINGLE)
        np.testing.assert_allclose(item["outputs"][0], places[1, :, 2], rtol=SINGLE)
    words = ["import", tmp_path / "no.h5", "--train", folder, "--output", "u=u"]
    assert "do not lie where" in run(capsys, *words, "--meshes", "one", code=2)
    words[3] = folder / "1.vtu"
    assert "is a cloud without" in run(capsys, *words, "--meshes", "moved", code=2)


def node(group: h5py.Group, name: str, label: str, data: object = None) -> h5py.Group:
    """A node of CGNS as HDF5 holds it."""
    kinds = {"f8": "R8", "f4": "R4", "i4": "I4", "i8": "I8", "i1": "C1"}
    child = group.create_group(name)
    kind = "MT"
    if data is not None:
        values = (
            np.frombuffer(data.encode(), np.int8)
            if isinstance(data, str)
            else np.asarray(data)
        )
        child[" data"] = values
        kind = kinds[values.dtype.str[1:]]
    child.attrs["name"] = np.array(name.encode(), "S33")
    child.attrs["label"] = np.array(label.encode(), "S33")
    child.attrs["type"] = np.array(kind.encode(), "S3")
    return child


def write_cgns(path: Path, k: int) -> None:
    """One sample in PLAID's folders: meshes/mesh_000000000.cgns and scalars.csv."""
    points, cells = triangles(k)
    path.parent.mkdir(parents=True)
    (path.parent.parent / "scalars.csv").write_text(f"load,other\n{k},1.5\n")
    with h5py.File(path, "w") as file:
        node(file, "CGNSLibraryVersion", "CGNSLibraryVersion_t", np.float32([4.0]))
        base = node(file, "Base_2_2", "CGNSBase_t", np.int32([2, 2]))
        sizes = np.int32([[len(points)], [len(cells)], [0]])
        zone = node(base, "Zone", "Zone_t", sizes)
        node(zone, "ZoneType", "ZoneType_t", "Unstructured")
        grid = node(zone, "GridCoordinates", "GridCoordinates_t")
        node(grid, "CoordinateX", "DataArray_t", points[:, 0])
        node(grid, "CoordinateY", "DataArray_t", points[:, 1])
        elements = node(zone, "Elements_TRI_3", "Elements_t", np.int32([5, 0]))
        node(elements, "ElementRange", "IndexRange_t", np.int64([1, len(cells)]))
        connectivity = (cells + 1).reshape(-1)
        node(elements, "ElementConnectivity", "DataArray_t", connectivity)
        lines = node(zone, "Elements_BAR_2", "Elements_t", np.int32([3, 0]))
        node(lines, "ElementConnectivity", "DataArray_t", np.int64([1, 2]))
        for place, name, values in (
            ("Vertex", "u", 2 + points[:, 0]),
            ("CellCenter", "e", np.arange(float(len(cells)))),
        ):
            fields = node(zone, f"{place}Fields", "FlowSolution_t")
            node(fields, "GridLocation", "GridLocation_t", place)
            node(fields, name, "DataArray_t", values)


def test_a_plaid_folder(tmp_path: Path, capsys: Shown) -> None:
    folder = tmp_path / "dataset"
    for k in range(4):
        sample = folder / "samples" / f"sample_{k:09d}"
        write_cgns(sample / "meshes" / "mesh_000000000.cgns", k)
    out = tmp_path / "out.h5"
    run(
        capsys, "import", out, "--train", folder, "--input", "load=load",
        "--output", "u=u",
    )  # fmt: skip
    check_plates(out, range(4))
    cells = tmp_path / "cells.h5"
    run(capsys, "import", cells, "--train", folder, "--output", "e=e")
    with DataFile(cells) as file:
        assert file.read("e", 2).tolist() == list(range(len(triangles(2)[1])))


def test_moved_nodes_become_points(tmp_path: Path, capsys: Shown) -> None:
    """One topology: an ordinary file with the variable points; said or told."""
    folder = tmp_path / "moved"
    folder.mkdir()
    points, cells = triangles(0)
    for k in range(3):
        moved = points * [1 + k, 1]
        arrays = {"u": 2 + moved[:, 0], "load": np.array(float(k))}
        np.savez(folder / f"{k}.npz", points=moved, cells=cells, **arrays)
    words = ["--train", folder, "--input", "load=load", "--output", "u=u"]
    for name, more in (("told.h5", []), ("said.h5", ["--meshes", "moved"])):
        run(capsys, "import", tmp_path / name, *words, *more)
        with DataFile(tmp_path / name) as file:
            assert not file.header.ragged
            assert file.header.mesh is not None
            stored = file.read("points", slice(None))
        assert stored.shape == (3, 13, 2)
        items = FieldDataset(tmp_path / name, None)
        for k in range(3):
            area = float(items[k]["weights"].sum())
            assert area == pytest.approx(1 + k, rel=SINGLE)
    refused = run(
        capsys, "import", tmp_path / "no.h5", *words, "--meshes", "one", code=2
    )
    assert "1.npz: its nodes do not lie where those of" in refused
    run(capsys, "import", tmp_path / "each.h5", *words, "--meshes", "each")
    with DataFile(tmp_path / "each.h5") as file:
        assert file.header.ragged


def test_geo_fno_arrays_of_a_mapped_grid(tmp_path: Path, capsys: Shown) -> None:
    """X, Y (sample, i, j) beside Q (sample, channel, i, j), as for pipe and airfoil."""
    folder = tmp_path / "pipe"
    folder.mkdir()
    y, x = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 2, 9), indexing="ij")
    place = np.stack([np.stack([x, y * (1 + k) + 0.3 * x]) for k in range(4)])
    np.save(folder / "Pipe_X.npy", place[:, 0])
    np.save(folder / "Pipe_Y.npy", place[:, 1])
    np.save(folder / "Pipe_Q.npy", np.stack([place[:, 0], 1 + place[:, 1]], 1))
    out = tmp_path / "pipe.h5"
    run(
        capsys, "import", out, "--train", folder,
        "--points", "Pipe_X:sample,y,x", "--points", "Pipe_Y:sample,y,x",
        "--output", "velocity=Pipe_Q:sample,time,y,x@1", "--split", "test=0.25",
    )  # fmt: skip
    samples = FieldDataset(out, None)
    for k in range(4):
        item = samples[k]
        area = 2 * (1 + k)
        weights = item["weights"].double()
        assert float(weights.sum()) == pytest.approx(area, rel=SINGLE)
        # the mean of y is (1 + k) / 2 + 0.3
        exact = area * (1 + (1 + k) / 2 + 0.3)
        total = float((weights * item["outputs"][0]).sum())
        assert total == pytest.approx(exact, rel=SINGLE)
        assert item["inputs"].shape == (0, 6, 9)


def test_geo_fno_arrays_of_clouds(tmp_path: Path, capsys: Shown) -> None:
    """XY (point, 2, sample) beside sigma (point, sample), as for elasticity."""
    folder = tmp_path / "Meshes"
    folder.mkdir()
    places = np.random.default_rng(0).random((97, 2, 5))
    np.save(folder / "XY.npy", places)
    np.save(folder / "sigma.npy", places[:, 0] + 1)
    np.save(folder / "rr.npy", np.arange(15.0).reshape(3, 5))
    out = tmp_path / "cells.h5"
    words = [
        "--points", "XY:node,component,sample", "--output", "stress=sigma:node,sample",
        "--input", "radius=rr:component,sample",
    ]  # fmt: skip
    run(capsys, "import", out, "--train", folder, *words)
    samples = FieldDataset(out, None)
    for k in range(5):
        item = samples[k]
        np.testing.assert_allclose(item["points"], places[..., k], rtol=SINGLE)
        np.testing.assert_allclose(item["outputs"][0], places[:, 0, k] + 1, rtol=SINGLE)
        assert float(item["weights"].sum()) == pytest.approx(1, rel=1e-5)
        assert item["parameters"].tolist() == [k, 5 + k, 10 + k]
    places[40, :, 3] = places[7, :, 3]
    np.save(folder / "XY.npy", places)
    no = tmp_path / "no.h5"
    refused = run(capsys, "import", no, "--train", folder, *words, code=2)
    assert "sample 3: points 7 and 40 of the cloud are the same" in refused
    assert not no.exists()


def folded(points: Array) -> Array:
    """Draw one inner node far over the others."""
    moved = points.copy()
    moved[6] = [0.01, 0.01]
    return moved


def test_meshes_that_are_refused(tmp_path: Path, capsys: Shown) -> None:
    """One line, the file named, and nothing written."""
    folder, out = tmp_path / "bad", tmp_path / "out.h5"
    folder.mkdir()
    points, cells = triangles(0)

    def write(k: int, points: Array, cells: Indices, **more: Array) -> None:
        fields = {"u": points[:, 0], **more}
        np.savez(folder / f"{k}.npz", points=points, cells=cells, **fields)

    words = ["import", out, "--train", folder, "--output", "u=u"]

    def refused(*more: str) -> str:
        line = run(capsys, *words, *more, code=2)
        assert not out.exists()
        return line

    write(0, points, cells)
    write(1, folded(points), cells)
    assert "1.npz: cell" in (line := refused())
    assert "inverted" in line
    assert "inverted" in refused("--meshes", "each")
    write(1, *triangles(1))
    changed = refused("--meshes", "moved")
    assert "1.npz: its cells are not those of" in changed
    assert "the topology changes" in changed
    wrong = triangles(1)[1].copy()
    wrong[2, 2] = 99
    write(1, triangles(1)[0], wrong)
    assert "cell 2 names a node that is not among the 14" in refused()
    nan = triangles(1)[0][:, 0].copy()
    nan[5] = np.nan
    write(1, *triangles(1), u=nan)
    assert "1.npz: u is missing or not finite at node 5;" in refused()
    write(1, *triangles(1), u=np.zeros(3))
    assert "the axes of u (3,) are not known" in refused()
    assert "choose from one, moved, each" in refused("--meshes", "both")


def test_a_generator_of_samples(tmp_path: Path) -> None:
    """One after another, with a named boundary; what is wrong leaves nothing."""
    out = tmp_path / "out.h5"

    def samples(count: int = 4, **changed: Array) -> Iterator[dict[str, object]]:
        for k in range(count):
            points, cells = triangles(k)
            yield {
                "points": points, "cells": cells, "u": 2 + points[:, 0], "load": k,
                "facets": [[0, 1], [2, 3]], "facet_part": [0, 1], **changed,
            }  # fmt: skip

    splits = {"train": 3, "test": 1}
    opkit.save_meshes(
        samples(), out, ["load"], ["u"], splits=splits, units={"u": "mm"},
        parts=["low", "high"],
    )  # fmt: skip
    check_plates(out, range(4))
    with DataFile(out) as file:
        assert file.header.variable("u").units == "mm"
        assert file.header.splits["test"].tolist() == [3]
        groups = file.mesh(3).groups
        assert groups is not None
        assert groups.names == ("low", "high")
        assert groups.facets.tolist() == [[0, 1], [2, 3]]
    no = tmp_path / "no.h5"
    for given, message in (
        (samples(5), "sample 4: is one more than the 4 that were said"),
        (samples(3), "3 samples were written, the header says 4"),
        (
            samples(cells=triangles(0)[1][:, [0, 0, 1]]),
            "sample 0: cell 0 has no volume",
        ),
        (iter([{"points": np.zeros((3, 2))}]), "sample 0: lacks load"),
    ):
        with pytest.raises(DataError, match=message):
            opkit.save_meshes(given, no, ["load"], ["u"], splits=splits)
        assert not no.exists()
    with pytest.raises(DataError, match="give the number of samples of train"):
        opkit.save_meshes(samples(), no, ["load"], ["u"], splits={"trains": 4})
