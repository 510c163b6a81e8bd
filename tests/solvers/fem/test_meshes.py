"""Simplex meshes: built-in domains, refinement, files, and faults that are refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

from opkit.base.sandbox import Limits
from opkit.errors import MissingExtraError
from opkit.solvers.fem import read_mesh as reader
from opkit.solvers.fem.domains import LShape, MeshFile, NotchedTriangle, Square
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.solvers.fem.read_mesh import read_mesh
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh, build, edges, refine

DOMAINS = [Square(), LShape(), NotchedTriangle()]
AREAS = {
    "square": 1.0,
    "l-shape": 3.0,
    "notched-triangle": np.sqrt(3) / 4 - 0.02 * 0.4,
}
MESHES = Path(__file__).parents[4] / "shared" / "data" / "meshes"

#: The unit square as a fan of four triangles around its centre.
POINTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0.5)], dtype=float)
CELLS = np.array([(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)])


def closed(mesh: SimplexMesh) -> bool:
    """Every node of a closed curve is on an even number of its edges."""
    return bool((np.bincount(mesh.facets.ravel()) % 2 == 0).all())


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.kind)
def test_built_in_domains(domain: Square) -> None:
    mesh = domain.mesh(12)
    assert mesh.volumes().min() > 0
    assert mesh.volumes().sum() == pytest.approx(AREAS[domain.kind], rel=1e-12)
    assert closed(mesh)
    corners = mesh.points[edges(mesh.cells)]
    longest = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1).max()
    assert longest <= np.sqrt(2) * mesh.size / 12 + 1e-12
    # Euler: nodes - edges + cells = 1 for a domain without holes.
    assert len(mesh.points) - len(edges(mesh.cells)) + len(mesh.cells) == 1
    rebuilt = build(mesh.points, mesh.cells)  # passes every check, finds the boundary
    assert {tuple(f) for f in np.sort(mesh.facets, axis=1)} == {
        tuple(f) for f in rebuilt.facets
    }


@pytest.mark.parametrize("domain", [LShape(), NotchedTriangle()], ids=lambda d: d.kind)
def test_refinement_nests(domain: LShape) -> None:
    """Old nodes stay first, areas quarter, parts and subdomains keep their measure."""
    coarse = domain.coarsest()
    fine = refine(coarse)
    assert np.array_equal(fine.points[: len(coarse.points)], coarse.points)
    assert fine.volumes() == pytest.approx(np.tile(coarse.volumes() / 4, 4))

    def length(mesh: SimplexMesh) -> np.ndarray:
        ends = mesh.points[mesh.facets]
        return np.bincount(mesh.parts, np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1))

    assert length(fine) == pytest.approx(length(coarse))
    assert np.array_equal(
        np.bincount(fine.subdomains), 4 * np.bincount(coarse.subdomains)
    )


def test_parts_of_the_notched_triangle() -> None:
    mesh = NotchedTriangle().coarsest()
    ends = mesh.points[mesh.facets]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    notch = lengths[mesh.parts == mesh.names.index("notch")].sum()
    outer = lengths[mesh.parts == mesh.names.index("outer")].sum()
    assert notch == pytest.approx(0.4 + 0.4 + 0.02)
    assert outer == pytest.approx(3 - 0.02)
    # Subdomains meet along y = 0.4: no cell reaches across it.
    height = mesh.points[mesh.cells][..., 1]
    above = mesh.subdomains == 2
    assert height[above].min() == pytest.approx(0.4)
    assert height[~above].max() == pytest.approx(0.4)


def test_quadratic_nodes_are_edge_midpoints() -> None:
    mesh = LShape().mesh(4)
    points, cells = lagrange_nodes(mesh, 2)
    assert len(points) == len(mesh.points) + len(edges(mesh.cells))
    assert len(np.unique(points, axis=0)) == len(points)
    for k, (i, j) in enumerate([(0, 1), (1, 2), (2, 0)]):
        middle = (points[cells[:, i]] + points[cells[:, j]]) / 2
        assert np.array_equal(points[cells[:, 3 + k]], middle)


@pytest.mark.parametrize(
    ("points", "cells", "message"),
    [
        (POINTS * np.nan, CELLS, "node 0 has a coordinate that is NaN"),
        (POINTS, np.where(CELLS == 3, 9, CELLS), "cell 2 names node 9; there are 5"),
        (POINTS, np.where(CELLS == 3, -1, CELLS), "cell 2 names node -1"),
        (np.vstack([POINTS, [(2.0, 2.0)]]), CELLS, "node 5 belongs to no cell"),
        (POINTS, np.vstack([CELLS, [(0, 4, 2)]]), "cell 4 has no area"),
        (POINTS, np.vstack([CELLS, CELLS[:1]]), "nodes 0, 1 belongs|overlap|more than"),
        (POINTS[:, :1], CELLS, "no mesh of triangles"),
        (POINTS, CELLS[:, :2], "no mesh of triangles"),
        (POINTS, CELLS[:0], "no cells"),
    ],
)
def test_faulty_meshes_are_refused_by_name(
    points: np.ndarray, cells: np.ndarray, message: str
) -> None:
    with pytest.raises(MeshError, match=message) as caught:
        build(points, cells)
    assert "\n" not in str(caught.value)


def test_twin_nodes_are_refused() -> None:
    cells = np.where((CELLS == 0) & (np.arange(4) == 3)[:, None], 5, CELLS)
    with pytest.raises(MeshError, match="twin"):
        build(np.vstack([POINTS, POINTS[:1]]), cells)


def test_one_inverted_cell_among_many_is_refused() -> None:
    mesh = Square().mesh(6)
    cells = mesh.cells.copy()
    cells[17] = cells[17, ::-1]
    with pytest.raises(MeshError, match="cell 17 is inverted"):
        build(mesh.points, cells)
    assert build(mesh.points, mesh.cells[:, ::-1]).volumes().min() > 0


def test_a_tangled_mesh_is_refused() -> None:
    """A node pulled through its opposite edge: some cells lie on top of others."""
    points = POINTS.copy()
    points[4] = (0.5, 1.4)
    with pytest.raises(MeshError, match="overlap"):
        build(points, CELLS)


def test_files_of_other_makers() -> None:
    if not MESHES.is_dir():
        pytest.skip(f"no mesh files at {MESHES}")
    expected = {  # file: (nodes, cells, dimension, names)
        "square.msh": (109, 184, 2, ("left", "right", "top", "boundary")),
        "annulus.msh": (60, 98, 2, ("exter", "inter")),
        "mixedtriquad.msh": (56, 16 + 2 * 36, 2, ("boundary",)),
        "cylinder_stokes.msh": (171, 293, 2, ("boundary",)),
        "box.msh": (358, 1105, 3, ("back", "front", "top", "boundary")),
    }
    for name, facts in expected.items():
        mesh = read_mesh(MESHES / name)
        found = (len(mesh.points), len(mesh.cells), mesh.dimension, mesh.names)
        assert found == facts
        assert mesh.volumes().min() > 0
    assert read_mesh(MESHES / "square.msh").volumes().sum() == pytest.approx(1)
    assert read_mesh(MESHES / "box.msh").volumes().sum() == pytest.approx(1)
    with pytest.raises(MeshError, match="curved"):
        read_mesh(MESHES / "quadratic_tri.msh")


GOOD = """$MeshFormat
2.2 0 8
$EndMeshFormat
$PhysicalNames
2
1 7 "wall"
2 8 "rock"
$EndPhysicalNames
$Nodes
5
1 0 0 0
2 1 0 0
3 1 1 0
4 0 1 0
5 0.5 0.5 0
$EndNodes
$Elements
5
1 1 2 7 1 1 2
2 2 2 8 1 1 2 5
3 2 2 8 1 2 3 5
4 2 2 8 1 3 4 5
5 2 2 8 1 4 1 5
$EndElements
"""


def test_physical_groups(tmp_path: Path) -> None:
    path = tmp_path / "good.msh"
    path.write_text(GOOD)
    mesh = read_mesh(path)
    assert mesh.names == ("wall", "boundary")
    assert set(mesh.subdomains) == {8}
    wall = mesh.points[mesh.facets[mesh.parts == 0]]
    assert np.array_equal(wall, [[(0, 0), (1, 0)]])
    assert len(MeshFile(path=path, refinements=2).mesh(1).cells) == 4 * 16


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n5\n1 0 0 0", "\n900000000000\n1 0 0 0", "cannot be read"),
        ("1 0 0 0", "1 nan 0 0", "NaN"),
        ("2 2 2 8 1 1 2 5", "2 2 2 8 1 1 2 99", "cannot be read"),
        ("3 1 1 0", "3 1 1 0.5", "in space"),
        ("$EndElements", "", "."),
        ("2.2 0 8", "77 0 8", "cannot be read"),
    ],
)
def test_hostile_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "hostile.msh"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    try:
        mesh = read_mesh(path)
    except MeshError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        assert message in str(error)
    else:  # a file that merely lacks its end is whole
        assert new == ""
        assert len(mesh.cells) == 4


def test_a_reader_that_ends_the_interpreter_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "broken.vtu"
    path.write_text("<VTKFile type='Other'></VTKFile>")
    with pytest.raises(MeshError, match="cannot be read"):
        read_mesh(path)


def test_formats_that_open_other_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mesh.xdmf"
    path.write_text("<Xdmf/>")
    with pytest.raises(MeshError, match="formats are"):
        read_mesh(path)
    with pytest.raises(MeshError, match="no such file"):
        read_mesh(tmp_path / "absent.msh")


def test_a_slow_reader_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "good.msh"
    path.write_text(GOOD)
    monkeypatch.setattr(reader, "LIMITS", Limits(wall_seconds=0))
    with pytest.raises(MeshError, match="takes over 0 s"):
        read_mesh(path)


def test_meshio_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "good.msh"
    path.write_text(GOOD)
    monkeypatch.setitem(sys.modules, "meshio", None)
    with pytest.raises(MissingExtraError, match="fem"):
        read_mesh(path)
