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

pytestmark = pytest.mark.fem  # meshio comes with FEniCSx
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
        counts = (len(mesh.points), len(mesh.cells), mesh.dimension, mesh.names)
        assert counts == facts
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
    monkeypatch.setattr(reader, "limits_of", lambda _: Limits(wall_seconds=0))
    with pytest.raises(MeshError, match="takes over 0 s"):
        read_mesh(path)


def test_meshio_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "good.msh"
    path.write_text(GOOD)
    monkeypatch.setitem(sys.modules, "meshio", None)
    with pytest.raises(MissingExtraError, match="fem"):
        read_mesh(path)


def msh(path: Path, points: np.ndarray, elements: list, names: list = []) -> Path:  # noqa: B006
    """Write MSH 2.2: elements are (type, group, nodes from 0), names (dim, number)."""
    lines = ["$MeshFormat", "2.2 0 8", "$EndMeshFormat"]
    if names:
        lines += ["$PhysicalNames", str(len(names))]
        lines += [f'{d} {n} "{name}"' for d, n, name in names] + ["$EndPhysicalNames"]
    lines += ["$Nodes", str(len(points))]
    for k, p in enumerate(points, 1):
        lines.append(" ".join(map(repr, (k, *map(float, p), *[0.0] * (3 - len(p))))))
    lines += ["$EndNodes", "$Elements", str(len(elements))]
    for k, (kind, group, nodes) in enumerate(elements, 1):
        lines.append(
            f"{k} {kind} 2 {group} {group} " + " ".join(str(n + 1) for n in nodes)
        )
    path.write_text("\n".join([*lines, "$EndElements", ""]))
    return path


SIDES = [(0, 1), (1, 2), (2, 3), (3, 0)]
FAN = [(2, 9, tuple(cell)) for cell in CELLS]
WALLS = [(1, k + 1, side) for k, side in enumerate(SIDES)]
NAMED = [(1, k + 1, name) for k, name in enumerate("abcd")]


@pytest.mark.parametrize(
    ("elements", "names", "message"),
    [
        (WALLS[1:] + FAN, NAMED, "part 'a' has no facet"),
        ([*WALLS, (1, 2, (0, 1)), *FAN], NAMED, "parts 'a' and 'b'"),
        ([*WALLS, (1, 5, (0, 4)), *FAN], [*NAMED, (1, 5, "e")], "of 1 facets 1 lie in"),
        ([*WALLS, (1, 2, (0, 2)), *FAN], NAMED, "and 1 are no sides of cells"),
        ([*WALLS, (1, 4, (0, 5)), *FAN], NAMED, "part 'd': 1 of 2 lines are not on"),
    ],
    ids=["empty", "two parts", "inside", "no side", "orphan"],
)
def test_parts_that_are_no_parts(
    tmp_path: Path, elements: list, names: list, message: str
) -> None:
    apart = np.vstack([POINTS, (2.0, 2.0)])
    points = apart if "lines" in message else POINTS
    path = msh(tmp_path / "m.msh", points, elements, names)
    with pytest.raises(MeshError, match=message):
        read_mesh(path)


def test_numbers_without_names_and_one_name_twice(tmp_path: Path) -> None:
    """Numbers name parts; a name of a line and of a surface is both."""
    inside = [(1, 7, (0, 4))]
    mesh = read_mesh(msh(tmp_path / "m.msh", POINTS, WALLS + inside + FAN))
    assert mesh.part_sizes() == {f"group-{k}": 1.0 for k in (1, 2, 3, 4)}
    names = [(1, 1, "p"), (1, 2, "b"), (1, 3, "b"), (1, 4, "d"), (2, 9, "p")]
    mesh = read_mesh(msh(tmp_path / "m.msh", POINTS, WALLS + FAN, names))
    assert mesh.part_sizes() == {"b": 2.0, "d": 1.0, "p": 1.0}


def test_gaps_and_overlaps(tmp_path: Path) -> None:
    """Hanging nodes, near-twins, overlaps: all have a boundary inside the domain."""

    def refused(points: np.ndarray, cells: list, message: str) -> None:
        elements = [(2, 9, tuple(c)) for c in cells]
        with pytest.raises(MeshError, match=message):
            read_mesh(msh(tmp_path / "m.msh", points, elements))

    beside = POINTS[:4] + np.array([1, 0])
    halves = np.vstack([POINTS, beside, (1.0, 0.5)])
    right = [(5, 6, 7), (5, 7, 9), (9, 7, 8)]
    hanging = np.delete(halves, [5, 8], axis=0)
    move = {5: 1, 8: 2, 6: 5, 7: 6, 9: 7}
    joined = [tuple(move[n] for n in cell) for cell in right]
    refused(hanging, [*CELLS, *joined], "node 7 hangs on the facet of nodes 1, 2")
    twins = np.vstack([POINTS, POINTS + np.array([1 + 1e-9, 0])])
    refused(twins, [*CELLS, *(CELLS + 5)], "are 1.0e-09 apart")
    upon = np.vstack([POINTS, POINTS / 2 + np.array([0.26, 0.27])])
    refused(upon, [*CELLS, *(CELLS + 5)], "lies in cell .* overlap")
    bars = np.array([(0, 1), (3, 1.1), (3, 1.2), (1, 0), (1.1, 3), (1.2, 3)])
    refused(bars, [(0, 1, 2), (3, 4, 5)], "overlap")


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("bend", [0.0, 0.02])
def test_curved_cells(tmp_path: Path, order: int, bend: float) -> None:
    """One triangle of order 2 or 3, one of whose further nodes is moved, or none."""
    corner = np.array([(0, 0), (1, 0), (0, 1)], float)
    steps = np.arange(1, order) / order
    sides = [(0, 1), (1, 2), (2, 0)]
    more = [corner[i] + t * (corner[j] - corner[i]) for i, j in sides for t in steps]
    points = np.vstack([corner, *more, *([[1 / 3, 1 / 3]] if order == 3 else [])])
    points[4] += bend
    kind = {2: 9, 3: 21}[order]
    path = msh(tmp_path / "m.msh", points, [(kind, 9, tuple(range(len(points))))])
    if bend:
        with pytest.raises(MeshError, match="triangle 0 is curved"):
            read_mesh(path)
    else:
        assert read_mesh(path).volumes().sum() == pytest.approx(0.5)


def test_roundings_in_z_are_flat(tmp_path: Path) -> None:
    points = np.column_stack([POINTS, 1e-17 * np.arange(5)])
    mesh = read_mesh(msh(tmp_path / "m.msh", points, FAN))
    assert mesh.dimension == 2


def test_inspect_states_lengths(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import json

    import opkit.cli

    path = msh(tmp_path / "m.msh", POINTS * (2, 1), WALLS + FAN, NAMED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["opkit", "inspect", str(path), "--json"])
        with pytest.raises(SystemExit) as end:
            opkit.cli.main()
    assert not end.value.code
    card = json.loads(capsys.readouterr().out)
    assert {p["part"]: p["length"] for p in card["parts"]} == dict(a=2, b=1, c=2, d=1)
    assert card["subdomains"] == [{"subdomain": 9, "cells": 4, "area": 2.0}]


@pytest.mark.parametrize(
    ("elements", "names", "message"),
    [
        (
            WALLS + FAN,
            [*NAMED, (1, 1, "other")],
            "group 1 has the names 'a' and 'other'",
        ),
        (WALLS[:3] + FAN, [(1, 1, "boundary")], "a part is called"),
        (WALLS[:1] + FAN, [(1, 1, "boundary")], "3 of 4 facets .* in no part"),
        (WALLS + FAN, [(1, 1, "group-2")], "group 2 has no name and another is called"),
    ],
    ids=["two names", "rest", "rest alone", "name of a number"],
)
def test_names_that_would_join_parts(
    tmp_path: Path, elements: list, names: list, message: str
) -> None:
    """A condition on one part would act on another as well."""
    if message == "a part is called":
        names, message = [*NAMED[1:3], *names], "1 of 4 facets .* in no part"
    with pytest.raises(MeshError, match=message):
        read_mesh(msh(tmp_path / "m.msh", POINTS, elements, names))


def test_names_of_every_kind(tmp_path: Path) -> None:
    """Spaces, signs, capitals, length; no name; a number turned round by gmsh."""
    long = "the same beginning of a name, which is longer than sixty-four signs: "
    names = [(1, 1, long + "a"), (1, 2, long + "b"), (1, 3, "Ein Name ß"), (1, 4, "")]
    walls = [*WALLS[:2], (1, -3, SIDES[2]), WALLS[3]]
    mesh = read_mesh(msh(tmp_path / "m.msh", POINTS, walls + FAN, names))
    expected = (long + "a", long + "b", "Ein Name ß", "group-4")
    assert mesh.part_sizes() == dict.fromkeys(sorted(expected), 1.0)
    names = [(1, 1, "Wall"), (1, 2, "wall"), (1, 3, "w"), (1, 4, "w"), (2, 9, "wall")]
    mesh = read_mesh(msh(tmp_path / "m.msh", POINTS, WALLS + FAN, names))
    assert mesh.part_sizes() == {"Wall": 1.0, "w": 2.0, "wall": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "m.msh: is empty"), ("hello", "it is no mesh of the format that .msh")],
)
def test_files_that_are_no_meshes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.msh").write_text(text)
    with pytest.raises(MeshError, match=message):
        read_mesh(tmp_path / "m.msh")


@pytest.mark.fem
@pytest.mark.parametrize(
    ("scale", "shift"), [(1.0, 1e8), (1e-9, 0.0), (1e12, 0.0), (30.0, 5.4e6)]
)
def test_meshes_of_any_size_and_place(
    tmp_path: Path, scale: float, shift: float
) -> None:
    """p at the middle node of the fan is f area / 3 / 4, by hand: K = 4, b = f A / 3.

    Coordinates on a map (UTM) are millions of metres; they round at 1e-16 of that.
    """
    from opkit.solvers.fem.boundary import Condition
    from opkit.solvers.fem.darcy_mesh import DarcyMesh

    path = msh(tmp_path / "m.msh", scale * POINTS + shift, WALLS + FAN, NAMED)
    mesh = read_mesh(path)
    rounding = 1e-15 * (1 + shift / scale)
    sizes = dict.fromkeys("abcd", scale)
    assert mesh.part_sizes() == pytest.approx(sizes, rel=rounding)
    zero = Condition(kind="dirichlet", value=0.0)
    solver = DarcyMesh(
        resolution=(1,), domain=MeshFile(path=path), forcing=1.0,
        boundary=dict.fromkeys("abcd", zero),
    )  # fmt: skip
    p = solver.solve({"permeability": np.ones((1, 4))}).outputs["pressure"][0]
    expected = scale**2 / 12 * (mesh.points == mesh.points[4]).all(axis=1)
    np.testing.assert_allclose(p, expected, rtol=1e-6 + 10 * rounding, atol=0)
