"""Ragged files: a mesh or cloud for each sample, read without the others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from fixtures.command_line import Shown, run
from matplotlib.figure import Figure
from scipy.spatial import Delaunay
from torch.utils.data import DataLoader

from opkit.base.mesh_groups import MeshGroups
from opkit.case.recipe import Recipe
from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.datasets.header import Header, Mesh, VariableSpec
from opkit.datasets.ragged_write import (
    RaggedWriter,
    oriented,
    shapes_of,
    weights_of,
)
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER
from opkit.errors import DataError, OpkitInputError
from opkit.figures import plots
from opkit.generate.validate import validate
from opkit.train.loop.batches import Held, batches, in_memory, slices

COUNT = 7
EXACT = 1e-12
"""Sums of some hundred products in double precision."""
VARIABLES = (
    VariableSpec("load", "input", (), (), "float64"),
    VariableSpec("stiffness", "input", ("node",), (0,)),
    VariableSpec("u", "output", ("node",), (0,), units="mm"),
)


def disc(k: int) -> Mesh:
    """A polygon of 12 + k corners on the circle of radius 1 + k, with points inside."""
    rng = np.random.default_rng(k)
    angle = 2 * np.pi * np.arange(12 + k) / (12 + k)
    rim = (1 + k) * np.stack([np.cos(angle), np.sin(angle)], 1)
    inside = (1 + k) * rng.uniform(-0.5, 0.5, (20 + 3 * k, 2))
    points = np.concatenate([rim, inside])
    cells = Delaunay(points).simplices.astype(np.int64)
    ring = np.arange(len(rim))
    facets = np.stack([ring, np.roll(ring, -1)], 1)
    parts = (ring >= len(rim) // 2).astype(np.int64)
    groups = MeshGroups(np.zeros(len(cells), np.int64), facets, parts, ("top", "low"))
    return Mesh(points, cells, groups)


def area(k: int) -> float:
    """Of that polygon."""
    n = 12 + k
    return n / 2 * (1 + k) ** 2 * float(np.sin(2 * np.pi / n))


def fields(k: int, mesh: Mesh) -> dict[str, np.ndarray]:
    """u = 3 + x - 2 y: linear, so that its integral is 3 times the area."""
    x, y = mesh.points[:, 0], mesh.points[:, 1]
    return {
        "load": np.asarray(10.0 * k),
        "stiffness": np.full(len(x), k, np.float32),
        "u": (3 + x - 2 * y).astype(np.float32),
    }


def write(
    path: Path,
    meshes: Sequence[Mesh],
    gzip: int = 0,
    variables: Sequence[VariableSpec] = VARIABLES,
    make: Callable[[int, Mesh], dict[str, np.ndarray]] = fields,
) -> Path:
    n = len(meshes)
    splits = {"train": np.arange(n - 2), "test": np.arange(n - 2, n)}
    header = Header(
        {}, tuple(variables), {}, splits, shapes=replace(shapes_of(meshes[0]))
    )
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = RaggedWriter(file, header, ("error",), "residual", gzip)
        for k, mesh in enumerate(meshes):
            writer.put(100 + k, mesh, make(k, mesh), {"error": k * 1e-9})
        writer.finish()
    return path


@pytest.fixture(params=[0, 4], ids=["plain", "gzip"])
def ragged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / "r.h5", [disc(k) for k in range(COUNT)], request.param)


def test_samples_come_back_bit_by_bit(ragged: Path) -> None:
    """In any order, one by one, without the others."""
    with DataFile(ragged) as file:
        assert file.header.ragged
        assert list(file.index) == [100 + k for k in range(COUNT)]
        for k in (5, 0, 3, 3, 6):
            mesh, own = file.mesh(k), disc(k)
            assert np.array_equal(mesh.points, own.points)
            assert np.array_equal(mesh.cells, own.cells)
            assert mesh.groups is not None
            assert own.groups is not None
            assert np.array_equal(mesh.groups.facets, own.groups.facets)
            assert np.array_equal(mesh.groups.parts, own.groups.parts)
            assert mesh.groups.names == ("top", "low")
            for name, values in fields(k, own).items():
                stored = file.read(name, k)
                assert stored.dtype == values.dtype
                assert np.array_equal(stored, values)
        assert sum(1 for _ in file.verify()) == COUNT
        with pytest.raises(DataError, match="read one row at a time"):
            file.read("u", slice(None))


def test_weights_sum_to_the_area_and_integrate_linear_fields(ragged: Path) -> None:
    with DataFile(ragged) as file:
        for k in range(COUNT):
            arrays = file.sample(k)
            weights, points = arrays["weights"], arrays["points"]
            assert weights.sum() == pytest.approx(area(k), rel=EXACT)
            middle = weights @ points / weights.sum()
            exact = 3 * area(k)  # the middle of a regular polygon is 0
            assert weights @ (3 + points @ [1.0, -2.0]) == pytest.approx(
                exact, rel=1e-11
            )
            np.testing.assert_allclose(middle, 0, atol=1e-11 * (1 + k))


def test_the_content_hash_depends_on_content_alone(tmp_path: Path) -> None:
    """Not on compression; on a coordinate, a cell, a part of the boundary."""

    def hash_of(path: Path) -> str:
        with DataFile(path, trusted=True) as file:
            assert file.content_hash() == file.stored_hash()
            return file.stored_hash()

    meshes = [disc(k) for k in range(3)]
    plain = hash_of(write(tmp_path / "a.h5", meshes))
    assert hash_of(write(tmp_path / "b.h5", meshes, gzip=9)) == plain
    moved, groups = meshes[1], meshes[1].groups
    assert groups is not None
    points = moved.points.copy()
    points[-1, 0] += 1e-12
    others = [
        replace(moved, points=points),
        replace(moved, cells=np.roll(moved.cells, 1, axis=1)),
        replace(moved, groups=replace(groups, parts=1 - groups.parts)),
    ]
    for k, other in enumerate(others):
        path = write(tmp_path / f"{k}.h5", [meshes[0], other, meshes[2]])
        assert hash_of(path) != plain


def test_items_and_batches(ragged: Path) -> None:
    """Order of samples, lengths, and which node belongs to which sample."""
    samples = FieldDataset(ragged, "train")
    items = [samples[i] for i in range(len(samples))]
    for k, item in enumerate(items):
        mesh = disc(k)
        n = len(mesh.points)
        assert item["inputs"].shape == (1, n)
        assert torch.equal(item["outputs"][0], torch.from_numpy(fields(k, mesh)["u"]))
        assert torch.equal(item["points"], torch.from_numpy(mesh.points).float())
        assert item["parameters"].tolist() == [10.0 * k]
        assert float(item["weights"].double().sum()) == pytest.approx(area(k), rel=1e-6)
    batch = collate([items[3], items[1]])
    n = [items[3]["inputs"].shape[1], items[1]["inputs"].shape[1]]
    assert batch["inputs"].shape == batch["outputs"].shape == (1, 1, sum(n))
    assert batch["points"].shape == (1, sum(n), 2)
    assert batch["sample"].tolist() == [0] * n[0] + [1] * n[1]
    assert batch["parameters"].tolist() == [[30.0], [10.0]]
    totals = torch.zeros(2).index_add(0, batch["sample"], batch["weights"][0])
    assert totals.tolist() == pytest.approx([area(3), area(1)], rel=1e-6)
    assert samples.parameter_channels == ("load",)
    assert samples.input_channels == ("stiffness",)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_what_one_process_reads(ragged: Path, context: str) -> None:
    samples = FieldDataset(ragged, None)
    samples[0]  # the handles of this process are open
    loader = DataLoader(
        samples,
        batch_size=2,
        collate_fn=collate,
        num_workers=2,
        multiprocessing_context=context,
    )
    loaded = list(loader)
    assert len(loaded) == 4
    for k, batch in enumerate(loaded):
        own = collate([samples[i] for i in range(2 * k, min(2 * k + 2, COUNT))])
        assert all(torch.equal(batch[name], own[name]) for name in own)


def test_other_programs_read_it(ragged: Path) -> None:
    """As netCDF-4: lengths, and the row of each node, by which xarray groups."""
    with xr.open_dataset(ragged, engine="h5netcdf") as data:
        assert data.u.dims == ("node",)
        assert data.cell_nodes.dims == ("cell", "corner")
        integral = (data.u * data.weights).groupby("node").sum()
        exact = [3 * area(k) for k in range(COUNT)]
        # u is stored in single precision
        np.testing.assert_allclose(integral, exact, rtol=1e-6)
        first = slice(*data.node_offset.values[:2].tolist())
        np.testing.assert_array_equal(data.node_x[first], disc(0).points[:, 0])


def test_validate_finds_nothing(ragged: Path) -> None:
    findings = validate(ragged)
    assert {f.name: f.passed for f in findings} == {
        "layout": True,
        "checksums": True,
        "finite values": True,
        "meshes": True,
        "values": True,
        "duplicates": True,
        "case": None,
    }


def test_clouds(tmp_path: Path) -> None:
    """Equal weights that sum to 1, which the file says."""
    rng = np.random.default_rng(1)
    clouds = [
        Mesh(rng.random((5 + k, 3)), np.zeros((0, 0), np.int64)) for k in range(3)
    ]
    variables = (VariableSpec("u", "output", ("node",), (0,)),)
    path = write(
        tmp_path / "c.h5", clouds, 0, variables,
        lambda k, mesh: {"u": mesh.points[:, 2].astype(np.float32)},
    )  # fmt: skip
    item = FieldDataset(path, None)[2]
    assert item["inputs"].shape == (0, 7)
    assert item["weights"].tolist() == pytest.approx([1 / 7] * 7)
    with DataFile(path) as file:
        assert "sum to 1" in file.handle["weights"].attrs["long_name"].decode()


def test_fields_on_cells(tmp_path: Path) -> None:
    """Points are their centres, weights their areas."""
    variables = (
        VariableSpec("a", "input", ("cell",), (0,)),
        VariableSpec("b", "output", ("cell",), (0,)),
    )

    def make(k: int, mesh: Mesh) -> dict[str, np.ndarray]:
        values = np.arange(len(mesh.cells), dtype=np.float32)
        return {"a": values, "b": 2 * values}

    path = write(tmp_path / "c.h5", [disc(k) for k in range(3)], 0, variables, make)
    item, mesh = FieldDataset(path, None)[1], disc(1)
    centres = mesh.points[mesh.cells].mean(1)
    np.testing.assert_allclose(item["points"], centres, rtol=1e-6, atol=1e-6)
    assert float(item["weights"].double().sum()) == pytest.approx(area(1), rel=1e-6)


def with_mesh(**changes: np.ndarray) -> Mesh:
    return replace(disc(1), **changes)


def turned(cell: int) -> Mesh:
    cells = disc(1).cells.copy()
    cells[cell, :2] = cells[cell, 1::-1]
    return with_mesh(cells=cells)


def misnamed() -> Mesh:
    cells = disc(1).cells.copy()
    cells[4, 0] = 1000
    return with_mesh(cells=cells)


def flat() -> Mesh:
    cells = disc(1).cells.copy()
    cells[2, 0] = cells[2, 1]
    return with_mesh(cells=cells)


def infinite() -> Mesh:
    points = disc(1).points.copy()
    points[3, 1] = np.inf
    return with_mesh(points=points)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (turned(5), "sample 1: cell 5 is inverted"),
        (misnamed(), "sample 1: cell 4 names a node that is not among the 36"),
        (flat(), "sample 1: cell 2 has no volume"),
        (infinite(), "sample 1: node 3 has a coordinate that is not finite"),
        (with_mesh(groups=None), "sample 1: cells of 3 corners in 2 dimensions, the"),
        (Mesh(disc(1).points, np.zeros((0, 0), np.int64)), "sample 1: clouds in 2"),
    ],
)
def test_meshes_that_are_refused(tmp_path: Path, mesh: Mesh, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "r.h5", [disc(0), mesh, disc(2)])


def test_a_cloud_with_a_point_twice_is_refused(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((6, 2))
    points[4] = points[1]
    cloud = Mesh(points, np.zeros((0, 0), np.int64))
    variables = (VariableSpec("u", "output", ("node",), (0,)),)
    with pytest.raises(
        DataError, match="sample 0: points 1 and 4 of the cloud are the"
    ):
        write(
            tmp_path / "c.h5", [cloud] * 3, 0, variables,
            lambda k, mesh: {"u": np.zeros(6, np.float32)},
        )  # fmt: skip


def change(path: Path, name: str, at: object, value: object) -> None:
    with h5py.File(path, "r+") as file:
        data = file[name][:]
        data[at] = value
        file[name][:] = data


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("node_offset", -1, 5, "node_offset: sample 6 reaches from"),
        ("node_offset", 0, 1, "node_offset begins at 1, not at 0"),
        ("cell_offset", 3, 0, "cell_offset: sample 2 reaches from"),
        ("facet_offset", -1, 10**6, "facet_offset ends at 1000000, facet has"),
    ],
)
def test_offsets_that_do_not_add_up(
    tmp_path: Path, name: str, at: int, value: int, message: str
) -> None:
    path = write(tmp_path / "r.h5", [disc(k) for k in range(COUNT)])
    change(path, name, at, value)
    with pytest.raises(DataError, match=message):
        DataFile(path)


def test_whole_files_that_name_nodes_they_have_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests are right, as a writer that means harm makes them; numbers overflow."""
    monkeypatch.setattr(
        "opkit.datasets.ragged_write.weights_of", lambda mesh, _: np.ones(36)
    )
    path = write(tmp_path / "r.h5", [misnamed()] * 3)
    with pytest.raises(DataError, match="sample 0: cell_nodes names a node that is"):
        FieldDataset(path, None)[0]
    change(path, "node_offset", slice(1, 3), [2**62, -(2**62) - 2**61])
    with pytest.raises(DataError, match="node_offset: sample 1 reaches from"):
        DataFile(path)


@pytest.mark.parametrize("name", ["node_x", "weights", "cell_nodes", "facet_part", "u"])
def test_changed_samples_are_named(tmp_path: Path, name: str) -> None:
    """Whole checksums of HDF5, another value: the sample's SHA-256 sees it."""
    path = write(tmp_path / "r.h5", [disc(k) for k in range(COUNT)])
    change(path, name, 0, 1 if name == "facet_part" else 7)
    samples = FieldDataset(path, None)
    assert samples[1]["sample"].sum() == 0  # others are sound
    with pytest.raises(DataError, match="sample 0 is damaged"):
        samples[0]


def test_operators_on_grids_refuse_it(ragged: Path) -> None:
    with pytest.raises(OpkitInputError, match="fno takes no ragged"):
        Recipe(operator="fno").samples(ragged, "train")


def test_training_holds_samples_of_several_lengths(ragged: Path) -> None:
    """In memory where they fit; batches are the same lazily."""
    samples = FieldDataset(ragged, None)
    held = in_memory(samples, 1.0)
    assert isinstance(held, Held)
    assert in_memory(samples, 1e-6) is samples
    parts = slices(len(samples), 3, 0, 1, torch.tensor([4, 2, 0, 1, 3, 5, 6]))
    cpu = torch.device("cpu")
    pairs = zip(batches(held, parts, cpu), batches(samples, parts, cpu), strict=True)
    for (one, _), (other, _) in pairs:
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_the_command_line_shows_and_exports_none(
    ragged: Path, capsys: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # names of files are long
    shown = " ".join(run(capsys, "inspect", ragged).split())
    assert "nodes 32 to 56" in shown
    assert "boundary parts top low" in shown
    refused = run(capsys, "export-data", ragged, tmp_path / "w", "--to", "well", code=2)
    assert "each sample has a mesh of its own" in refused
    assert not (tmp_path / "w").exists()


def kuhn() -> Mesh:
    """The unit cube in six tetrahedra, their nodes numbered as they come."""
    points = np.array(list(product((0.0, 1.0), repeat=3)))
    cells = [
        [0, *(np.cumsum(np.eye(3, dtype=np.int64)[list(order)], 0) @ [4, 2, 1])]
        for order in permutations(range(3))
    ]
    return Mesh(points, np.array(cells))


@pytest.mark.parametrize("mesh", [kuhn(), replace(disc(2), groups=None)])
def test_numbering_round_the_other_way_is_no_fault_and_folds_are(mesh: Mesh) -> None:
    """Turned cells are turned back; two on one side of their common side are seen."""
    turned = mesh.cells.copy()
    turned[::2, :2] = turned[::2, 1::-1]
    weights = weights_of(oriented(replace(mesh, cells=turned)), "s")
    np.testing.assert_allclose(weights, weights_of(oriented(mesh), "s"), rtol=EXACT)
    size = 1 if mesh.points.shape[1] == 3 else area(2)
    assert weights.sum() == pytest.approx(size, rel=EXACT)
    # a copy of a node, drawn to the other side of the cell that it closes
    cell, d = mesh.cells[3], mesh.points.shape[1]
    mirrored = 2 * mesh.points[cell[:d]].mean(0) - mesh.points[cell[d]]
    over = mirrored + 1.9 * (mesh.points[cell[d]] - mirrored)
    extra = [*cell[:d], len(mesh.points)]
    folded = Mesh(
        np.concatenate([mesh.points, over[None]]),
        np.concatenate([mesh.cells, [extra]]),
    )
    with pytest.raises(
        DataError, match=f"s: cell {len(mesh.cells)} is inverted: it lies"
    ):
        weights_of(oriented(folded), "s")


@pytest.mark.fem
def test_export_for_paraview_and_back(
    ragged: Path, capsys: Shown, tmp_path: Path
) -> None:
    """A .vtu a sample: its mesh and fields bit by bit; the numbers in a table."""
    meshio = pytest.importorskip("meshio")
    folder = tmp_path / "vtu"
    run(capsys, "export-data", ragged, folder, "--to", "vtu")
    table = (folder / "samples.csv").read_text().splitlines()
    assert table[0] == "file,load"
    assert table[-1] == "test/sample_000006.vtu,60.0"
    for k, split in ((2, "train"), (6, "test")):
        mesh = meshio.read(folder / split / f"sample_{k:06d}.vtu")
        assert np.array_equal(mesh.points[:, :2], disc(k).points)
        assert np.array_equal(mesh.cells_dict["triangle"], disc(k).cells)
        assert np.array_equal(mesh.point_data["u"], fields(k, disc(k))["u"])
    back = tmp_path / "back.h5"
    run(
        capsys, "import", back, "--train", folder / "train", "--test", folder / "test",
        "--input", "stiffness=stiffness", "--output", "u=u",
    )  # fmt: skip
    with DataFile(back) as file:
        for k in range(COUNT):
            assert np.array_equal(file.mesh(k).points, disc(k).points)
            assert np.array_equal(file.read("u", k), fields(k, disc(k))["u"])


def test_pictures_of_meshes_and_clouds(
    ragged: Path, capsys: Shown, tmp_path: Path
) -> None:
    """Every sample on its own mesh, clouds as points."""
    picture = tmp_path / "a.png"
    run(capsys, "inspect", ragged, "--plot", picture)
    assert picture.read_bytes()[1:4] == b"PNG"
    axis = Figure().subplots()
    mesh, scale = disc(3), {"vmin": 0.0, "vmax": 1.0}
    values = np.arange(float(len(mesh.points)))
    own = plots.Triangles(mesh.points, mesh.cells)
    panel = plots.Panel("u", values, mesh=own)
    drawn = plots.image_of(axis, panel, (0, 1, 0, 1), None, scale)
    np.testing.assert_array_equal(drawn.get_array(), values)
    cloud = plots.Triangles(mesh.points, mesh.cells[:0])
    panel = plots.Panel("u", values, mesh=cloud)
    drawn = plots.image_of(axis, panel, (0, 1, 0, 1), None, scale)
    np.testing.assert_array_equal(drawn.get_offsets(), mesh.points)
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    quad = plots.Triangles(square, np.array([[0, 1, 2, 3]]))
    panel = plots.Panel("u", np.array([7.0]), mesh=quad)
    drawn = plots.image_of(axis, panel, (0, 1, 0, 1), None, scale)
    np.testing.assert_array_equal(drawn.get_array(), [7.0, 7.0])  # two triangles
