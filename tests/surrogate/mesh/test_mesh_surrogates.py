"""Surrogates on meshes: files, figures, other meshes, dolfinx Functions."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

import opkit
from opkit import elements
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import DataError, OpkitInputError
from opkit.evaluate.run import evaluate
from opkit.figures import data_file as data_figure
from opkit.figures import run as figures
from opkit.operators.shapes import MeshShape
from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh
from opkit.solvers.fem.domains import LShape
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.surrogate.adapters import mesh_files as mesh_output
from opkit.surrogate.other_mesh import (
    case_mesh,
    rebuild,
    transfer,
)
from opkit.surrogate.predict_file import predict

meshio = pytest.importorskip("meshio")


def finer(cells: int = 8, channels: int = 1) -> MeshShape:
    zero = Condition(kind="dirichlet")
    solver = DarcyMesh(resolution=(cells,), boundary={"inner": zero, "outer": zero})
    fixed, values = solver.dirichlet()
    values = np.repeat(values, channels, 0)
    mesh = (*solver.mesh(), fixed, values, solver.hierarchy())
    return MeshShape(1, channels, "cell", *mesh)


def test_the_bundle_gives_back_the_operator_exactly(run: Path, data: Path) -> None:
    surrogate = opkit.load(run)
    x = FieldDataset(data, "test")[0]["inputs"][None]
    u = surrogate.predict(x)
    assert u.shape == (1, 1, 65)
    mesh = surrogate.mesh
    assert (u[0, 0][torch.from_numpy(mesh.fixed)] == 0).all()
    assert torch.equal(opkit.load(run).predict(x), u)


def test_errors_on_meshes_are_those_of_the_elements(run: Path, data: Path) -> None:
    surrogate = opkit.load(run)
    x, u = (
        torch.stack([sample[role] for sample in FieldDataset(data, "test")])
        for role in ("inputs", "outputs")
    )
    e, u = ((p[:, 0].double().numpy()) for p in (surrogate.predict(x) - u, u))
    mesh = surrogate.mesh
    mass = elements.mass(mesh.points, mesh.cells)
    slope = elements.stiffness(mesh.points, mesh.cells)
    row = evaluate(run).rows[0]
    for error, form in ((row.relative_l2, mass), (row.relative_h1, mass + slope)):
        ratios = [
            (a @ (form @ a)) / (b @ (form @ b)) for a, b in zip(e, u, strict=True)
        ]
        assert error == pytest.approx(np.sqrt(ratios).mean(), rel=1e-5)  # float32
    assert (
        f"{row.relative_l2:.4f} | {row.relative_h1:.4f}"
        in (run / "bundle" / "card.md").read_text()
    )


@pytest.mark.parametrize("suffix", [".vtu", ".xdmf"])
def test_predictions_are_read_back_by_meshio(
    run: Path, data: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"out{suffix}"
    assert predict(run, data, target, split="test") == (4, 65)
    samples = FieldDataset(data, "test")
    x = torch.stack([samples[i]["inputs"] for i in range(4)])
    u = opkit.load(run).predict(x)[:, 0].numpy()
    mesh = opkit.load(run).mesh
    if suffix == ".vtu":
        read = meshio.read(target)
        arrays = [read.point_data[f"pressure_{i}"] for i in range(4)]
        inputs = [read.cell_data[f"permeability_{i}"][0] for i in range(4)]
        points, blocks = read.points, read.cells
    else:
        with meshio.xdmf.TimeSeriesReader(target) as series:
            points, blocks = series.read_points_cells()
            steps = [series.read_data(k) for k in range(series.num_steps)]
        assert [time for time, _, _ in steps] == [0.0, 1.0, 2.0, 3.0]
        arrays = [on_nodes["pressure"] for _, on_nodes, _ in steps]
        inputs = [on_cells["permeability"][0] for _, _, on_cells in steps]
    np.testing.assert_allclose(points[:, :2], mesh.points, atol=1e-15)
    np.testing.assert_array_equal(blocks[0].data, mesh.cells)
    np.testing.assert_allclose(arrays, u, rtol=1e-6)
    np.testing.assert_allclose(inputs, x[:, 0], rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_quadratic_cells_and_vectors_are_written(tmp_path: Path) -> None:
    points, cells = lagrange_nodes(LShape().mesh(2), 2)
    velocity = np.stack([points[:, 0], -points[:, 1]])[None]
    mesh_output.write(tmp_path / "u.vtu", points, cells, {"velocity": velocity})
    read = meshio.read(tmp_path / "u.vtu")
    assert read.cells[0].type == "triangle6"
    np.testing.assert_array_equal(read.point_data["velocity"][:, :2], velocity[0].T)
    with pytest.raises(DataError, match="velocity has 3 values"):
        mesh_output.write(
            tmp_path / "v.vtu", points, cells, {"velocity": np.ones((1, 3))}
        )
    assert not (tmp_path / "v.vtu").exists()


@pytest.mark.slow
def test_a_run_has_figures(run: Path) -> None:
    paths = {path.name: path for path in figures.draw(run)}
    assert paths.keys() == {"curves.png", "samples.png", "worst.png"}
    image = matplotlib.image.imread(paths["worst.png"])[..., :3]
    assert image.std() > 0.05


def test_pictures_of_data_show_the_mesh(data: Path, tmp_path: Path) -> None:
    """The notch of the L stays white; the domain does not."""
    data_figure.draw(data, tmp_path / "data.png", samples=1)
    image = matplotlib.image.imread(tmp_path / "data.png")[..., :3]
    rows, columns = image.shape[:2]
    notch = image[
        int(0.25 * rows) : int(0.4 * rows), int(0.31 * columns) : int(0.36 * columns)
    ]
    body = image[
        int(0.6 * rows) : int(0.8 * rows), int(0.1 * columns) : int(0.3 * columns)
    ]
    assert (notch == 1).all()
    assert (body < 1).any(axis=2).mean() > 0.9


def test_transfer_is_interpolation_to_the_trained_mesh_and_back(run: Path) -> None:
    """With constant inputs and nested meshes: the trained mesh's own prediction."""
    surrogate, mesh = opkit.load(run), finer()
    x = torch.tensor([0.5, 2.0])[:, None, None]
    own = surrogate.predict(x.expand(-1, 1, 96).contiguous())
    u = transfer(surrogate, mesh)(x.expand(-1, 1, 384).contiguous())
    assert u.shape == (2, 1, 225)
    torch.testing.assert_close(u[..., :65], own, rtol=1e-5, atol=1e-6)
    assert (u[..., torch.from_numpy(mesh.fixed)] == 0).all()


def test_rebuilding_keeps_weights_and_boundary_values(run: Path) -> None:
    surrogate, mesh = opkit.load(run), finer()
    rebuilt = rebuild(surrogate, mesh)
    x = torch.tensor([0.5, 2.0])[:, None, None].expand(-1, 1, 384).contiguous()
    u = rebuilt(x.numpy())
    assert u.shape == (2, 1, 225)
    assert (u[..., mesh.fixed] == 0).all()
    own = surrogate.predict(x[..., :96].contiguous()).numpy()
    # what the corner and the interpolation of φ differ by, O(h) with h = 1/4
    assert np.linalg.norm(u[..., :65] - own) < 0.25 * np.linalg.norm(own)
    same = rebuild(surrogate, surrogate.mesh)
    assert torch.equal(same.predict(x[..., :96]), surrogate.predict(x[..., :96]))


def test_the_case_gives_other_meshes(run: Path) -> None:
    surrogate = opkit.load(run)
    other, expected = case_mesh(surrogate, ["resolution=8"]), finer()
    for name in ("points", "cells", "fixed", "given"):
        np.testing.assert_array_equal(getattr(other, name), getattr(expected, name))
    assert [len(points) for points, _ in other.coarse] == [65, 21, 8]
    with pytest.raises(OpkitInputError, match="resolutions"):
        case_mesh(surrogate, ["resolutions=8"])


def test_meshes_that_do_not_fit_are_refused(run: Path) -> None:
    surrogate = opkit.load(run)
    for way in (transfer, rebuild):
        with pytest.raises(OpkitInputError, match="out_channels is 2"):
            way(surrogate, finer(channels=2))
    mesh = finer()
    moved = MeshShape(
        1, 1, "cell", mesh.points + 9.0, mesh.cells, mesh.fixed, mesh.given
    )
    with pytest.raises(OpkitInputError, match="outside the mesh"):
        transfer(surrogate, moved)


def dolfinx_space(cells: int, kind: str, degree: int):
    from opkit.solvers.fem.stack import MPI, basix_ufl, fem
    from opkit.solvers.fem.stack import mesh as dolfinx_mesh

    simplex = LShape().mesh(cells)
    element = basix_ufl.element("Lagrange", "triangle", 1, shape=(2,))
    domain = dolfinx_mesh.create_mesh(
        MPI.COMM_SELF, simplex.cells, element, simplex.points
    )
    return fem, fem.functionspace(domain, (kind, degree))


def test_a_function_comes_back_as_a_function(run: Path) -> None:
    fem, space = dolfinx_space(4, "DG", 0)
    permeability = fem.Function(space)
    permeability.interpolate(lambda x: 2 + np.sin(3 * x[0] + x[1]))
    surrogate = opkit.load(run)
    pressure = surrogate(permeability)
    assert isinstance(pressure, fem.Function)
    assert pressure.name == "pressure"
    assert pressure.function_space.mesh is space.mesh
    mesh = surrogate.mesh
    x, y = mesh.points[mesh.cells].mean(axis=1).T
    own = surrogate((2 + np.sin(3 * x + y)).astype(np.float64))
    where = pressure.function_space.tabulate_dof_coordinates()[:, :2]
    for value, place in zip(pressure.x.array, where, strict=True):
        node = np.flatnonzero(np.abs(mesh.points - place).max(axis=1) < 1e-9)
        assert value == pytest.approx(own[node[0]], rel=1e-5, abs=1e-9)
    assert pressure.x.array.std() > 0


@pytest.mark.parametrize(
    ("cells", "kind", "degree", "fault"),
    [
        (8, "DG", 0, "permeability: cell 0 at .* is not one of the surrogate's mesh"),
        (4, "Lagrange", 1, "permeability: degree of freedom 0 at .* is not one"),
        (4, "DG", 1, "permeability: degree of freedom 0 at .* is not one"),
    ],
)
def test_a_function_on_another_mesh_is_refused(
    run: Path, cells: int, kind: str, degree: int, fault: str
) -> None:
    fem, space = dolfinx_space(cells, kind, degree)
    with pytest.raises(OpkitInputError, match=fault):
        opkit.load(run)(fem.Function(space))
