"""A mesh from a file: data, run and their checks go on without the file, elsewhere."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import opkit
from opkit.base.mesh_groups import MeshGroups
from opkit.case import load_case
from opkit.case.record import parse_case
from opkit.datasets.conformity import faults
from opkit.datasets.header import Mesh, check_header
from opkit.datasets.read import DataFile
from opkit.errors import DataError, OpkitInputError
from opkit.evaluate.run import evaluate
from opkit.evaluate.solver import table
from opkit.generate import generate
from opkit.generate.validate import validate
from opkit.report import report
from opkit.solvers.fem.domains import MeshFile
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh
from opkit.solvers.fem.stored_mesh import StoredMesh, coarsen
from opkit.solvers.interface import ReadsMesh, with_parameters
from opkit.train import train

if find_spec("dolfinx") is None or find_spec("meshio") is None:
    pytest.skip("FEniCSx or meshio is not installed", allow_module_level=True)

N = 4
DOMAIN = "solver.parameters.domain={kind: file, path: PATH, refinements: 1}"
CONDITIONS = (
    "solver.parameters.boundary={hot: {kind: dirichlet, value: 1}, "
    "cold: {kind: dirichlet, value: 0}, boundary: {kind: neumann, value: 0}}"
)


def plate() -> str:
    """A .msh of (0,2) x (0,1): N x N rectangles cut in two, low and high ones apart."""
    n = N + 1
    nodes = [(2 * i / N, j / N) for j in range(n) for i in range(n)]
    lines = [(1, n * j, n * j + n) for j in range(N)]
    lines += [(2, n * j + N, n * j + n + N) for j in range(N)]
    words = [f"1 2 {tag} {tag} {a + 1} {b + 1}" for tag, a, b in lines]
    for j in range(N):
        for i in range(N):
            a, tag = n * j + i, 11 if j < N // 2 else 12
            for b, c in ((a + 1, a + n + 1), (a + n + 1, a + n)):
                words.append(f"2 2 {tag} {tag} {a + 1} {b + 1} {c + 1}")
    points = "".join(f"{k + 1} {x} {y} 0\n" for k, (x, y) in enumerate(nodes))
    cells = "".join(f"{k + 1} {word}\n" for k, word in enumerate(words))
    return (
        "$MeshFormat\n2.2 0 8\n$EndMeshFormat\n"
        '$PhysicalNames\n4\n1 1 "hot"\n1 2 "cold"\n2 11 "low"\n2 12 "high"\n'
        f"$EndPhysicalNames\n$Nodes\n{len(nodes)}\n{points}$EndNodes\n"
        f"$Elements\n{len(words)}\n{cells}$EndElements\n"
    )


@dataclass
class Moved:
    data: Path
    run: Path
    title: str


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """A data file and a run; the folder they and the mesh were made in is gone."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    (first / "plate.msh").write_text(plate())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(first)
        case = load_case(
            "darcy-mesh",
            (
                DOMAIN.replace("PATH", "plate.msh"),
                CONDITIONS,
                "distribution={kind: subdomains}",
                "samples={train: 16, validation: 4, test: 4}",
            ),
        )
        generate(case, Path("plate.h5"))
        small = ["training.epochs=2", "model.hidden_channels=8", "model.n_layers=1"]
        result = train(Path("plate.h5"), Path("run"), operator="spon", overrides=small)
    shutil.move(first / "plate.h5", second / "plate.h5")
    shutil.move(first / result.run, second / "run")
    shutil.rmtree(first)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("third"))
        yield Moved(second / "plate.h5", second / "run", case.title)


def test_the_file_holds_the_mesh_and_no_folder(moved: Moved) -> None:
    with DataFile(moved.data) as file:
        header = file.header
        assert not list(faults(file))
        assert list(file.verify()) == list(range(24))
    assert header.mesh is not None and header.mesh.groups is not None
    assert header.mesh.groups.names == ("cold", "hot", "boundary")
    assert set(header.mesh.groups.subdomains) == {11, 12}
    ends = header.mesh.points[header.mesh.groups.facets[header.mesh.groups.parts == 1]]
    assert len(ends) == 2 * N and (ends[..., 0] == 0).all()  # hot is x = 0, refined
    assert header.case["solver"]["parameters"]["domain"]["path"] == "plate.msh"
    assert header.case["geometry"]["extent"] == {"y": [0, 1], "x": [0, 2]}


def test_title_equation_and_boundary_are_those_of_the_mesh(moved: Moved) -> None:
    with DataFile(moved.data) as file:
        case = file.header.case
    assert case["title"] == moved.title == "Darcy flow on the mesh plate.msh"
    assert case["equation"] == (
        "-∇·(a ∇p) = f in the mesh plate.msh, p = 1 on hot, p = 0 on cold, "
        "a ∂p/∂n = 0 on boundary"
    )
    assert case["boundary"]["hot"] == {"kind": "dirichlet", "value": 1.0}
    assert case["boundary"]["boundary"] == {"kind": "neumann", "value": 0.0}


def test_stored_solver_knows_boundary_and_subdomains(moved: Moved) -> None:
    """Without f the flow runs along the two layers, so that p = 1 - x/2 exactly."""
    with DataFile(moved.data) as file:
        header = file.header
    solver = parse_case(header.case, mesh=header.mesh).build_solver()
    assert isinstance(solver, ReadsMesh)
    points, cells = solver.mesh()
    permeability = solver.sample(np.random.default_rng(0))["permeability"]
    assert len(np.unique(permeability)) == 2
    solved = with_parameters(solver, forcing=0.0).solve(
        {"permeability": permeability[None]}
    )
    assert np.allclose(solved.outputs["pressure"][0], 1 - points[:, 0] / 2, atol=1e-12)
    assert len(cells) == 4 * 2 * N * N


def test_data_are_validated(moved: Moved) -> None:
    rows = {check_header.name: check_header for check_header in validate(moved.data)}
    assert rows["case"].passed and rows["inputs"].passed and rows["residual"].passed


def test_surrogate_is_checked_and_solves(moved: Moved) -> None:
    surrogate = opkit.load(moved.run)
    with DataFile(moved.data) as file:
        permeability = file.read("permeability", np.array([0, 1]))
        pressure = file.read("pressure", np.array([0, 1]))
    checked = surrogate({"permeability": permeability}, check=True)
    assert checked.residual is not None and np.isfinite(checked.residual).all()
    solved = surrogate.solve({"permeability": permeability}, 1e-6)
    # float32 of the bundle's tensors; two epochs do not reach 1e-6, so both are solved
    assert np.allclose(solved.outputs["pressure"], pressure, atol=1e-5)


def test_solver_stands_beside_the_surrogate(moved: Moved) -> None:
    assert evaluate(moved.run, moved.data).reproduced
    recipe = opkit.load(moved.run).config.recipe
    rows = {row.predictor: row.relative_l2 for row in table(recipe, moved.data)}
    assert rows["solver"] < 1e-6  # outputs are stored as float32
    assert rows.keys() == {"solver"}  # a mesh from a file has no coarser one by cells


def test_report_names_the_mesh(moved: Moved, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = report(moved.run, tmp_path / "page.html", moved.data).read_text("utf-8")
    assert "Darcy flow on the mesh plate.msh" in page and "no such file" not in page
    assert "L-shape" not in page and "p = 0 on the boundary" not in page


def test_content_does_not_depend_on_the_folder(moved: Moved, tmp_path: Path) -> None:
    """The case's own file names the mesh relative to itself."""
    with DataFile(moved.data) as file:
        header, digest = file.header, file.content_hash()
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "plate.msh").write_text(plate())
    (folder / "mine.yaml").write_text(yaml.safe_dump(dict(header.case)))
    generate(load_case(str(folder / "mine.yaml")), tmp_path / "again.h5")
    with DataFile(tmp_path / "again.h5") as file:
        assert file.content_hash() == digest


def test_texts_may_be_overridden(tmp_path: Path) -> None:
    domain = DOMAIN.replace("PATH", str(tmp_path / "plate.msh"))
    case = load_case("darcy-mesh", (domain, CONDITIONS, "title=A plate"))
    assert case.title == "A plate" and "plate.msh" in case.equation


def test_an_old_file_says_what_it_needs(moved: Moved) -> None:
    with DataFile(moved.data) as file:
        header = file.header
    assert header.mesh is not None
    old = Mesh(header.mesh.points, header.mesh.cells)
    solver = parse_case(header.case, mesh=old).build_solver()
    assert isinstance(solver, ReadsMesh)
    with pytest.raises(MeshError, match=r"plate.msh: no such file: put the mesh there"):
        solver.mesh()


def test_refining_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "plate.msh"
    path.write_text(plate())
    fine, middle, coarse = MeshFile(path=path, refinements=2).hierarchy(1)
    for mesh, known in ((fine, middle), (middle, coarse)):
        again = coarsen(mesh)
        for name in ("points", "cells", "subdomains", "facets", "parts"):
            assert np.array_equal(getattr(again, name), getattr(known, name)), name
    with pytest.raises(MeshError, match="was not refined"):
        StoredMesh.of(
            MeshFile(path=path, refinements=5), coarse.points, coarse.cells, _of(coarse)
        ).hierarchy(1)


def test_quadratic_elements_come_back(tmp_path: Path) -> None:
    path = tmp_path / "plate.msh"
    path.write_text(plate())
    settings = (DOMAIN.replace("PATH", str(path)), CONDITIONS)
    solver = load_case(
        "darcy-mesh", (*settings, "solver.parameters.degree=2")
    ).build_solver()
    assert isinstance(solver, ReadsMesh)
    groups = solver.mesh_groups()
    assert groups is not None
    points, cells = solver.mesh()
    path.unlink()
    again = solver.on_mesh(points, cells, groups)
    assert np.array_equal(again.mesh()[0], points)
    assert np.array_equal(again.mesh()[1], cells)


def test_damaged_groups_are_refused(moved: Moved) -> None:
    surrogate = opkit.load(moved.run)
    tensors = surrogate.mesh.tensors()
    assert tensors["part_names"].dtype == torch.uint8
    rest = (1, 1, "cell")
    remake = type(surrogate.mesh).from_tensors
    with pytest.raises(OpkitInputError, match="point beyond the last name"):
        remake(*rest, tensors | {"parts": tensors["parts"] + 3})
    with pytest.raises(OpkitInputError, match="names of boundary parts are damaged"):
        remake(*rest, tensors | {"part_names": tensors["part_names"][1:]})
    with pytest.raises(OpkitInputError, match="lacks 'facets'"):
        remake(*rest, {k: v for k, v in tensors.items() if k != "facets"})


def test_variables_keep_off_the_names_of_groups(moved: Moved) -> None:
    with DataFile(moved.data) as file:
        header = file.header
    renamed = replace(header.variables[0], name="facet_part")
    with pytest.raises(DataError, match="'facet_part' names a part of the mesh"):
        check_header(replace(header, variables=(renamed, header.variables[1])), "file")


def _of(mesh: SimplexMesh) -> MeshGroups:
    return MeshGroups(mesh.subdomains, mesh.facets, mesh.parts, mesh.names)
