"""SPON: encoders, hierarchies, exact boundary values, symmetries, other meshes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import spsolve

from opkit.elements import cell_moments, mass, restriction, stiffness
from opkit.errors import OpkitInputError
from opkit.operators.interface import build_operator
from opkit.operators.shapes import MeshShape
from opkit.operators.spon.blocks import EdgeGraph, MessagePassing, _Mix
from opkit.operators.spon.hierarchy import Projection, element_bounds
from opkit.operators.spon.levels import (
    build_levels,
    independent_set,
    lift,
    torsion,
)
from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh
from opkit.solvers.fem.domains import LShape, NotchedTriangle, Square

PROCESSORS = ("fixed-operators", "message-passing")


def l_shape(cells: int = 8, degree: int = 1, channels: int = 1, **changes) -> MeshShape:
    """The L-shape with p = 2 on its outer and -1 on its inner edges."""
    boundary = {
        "inner": Condition(kind="dirichlet", value=-1.0),
        "outer": Condition(kind="dirichlet", value=2.0),
    }
    solver = DarcyMesh(resolution=(cells,), boundary=boundary, degree=degree)
    fixed, values = solver.dirichlet()
    data = MeshShape(
        1,
        channels,
        "cell",
        *solver.mesh(),
        fixed,
        np.repeat(values, channels, 0),
        solver.hierarchy(),
    )
    return replace(data, **changes)


def build(data: MeshShape, **options):
    torch.manual_seed(0)
    model = build_operator(
        "spon", data, {"hidden_channels": 8, "n_layers": 2, **options}
    )
    size = len(data.cells) if data.inputs_on == "cell" else len(data.points)
    x = torch.rand(6, data.in_channels, size) + 0.5
    u = torch.randn(6, data.out_channels, len(data.points))
    model.prepare({"inputs": x, "outputs": u})
    return model.eval(), x


@pytest.mark.parametrize("degree", [1, 2])
def test_cell_data_are_projected_in_l2(degree):
    data = l_shape(degree=degree)
    f = np.random.default_rng(0).random((len(data.cells), 3))
    exact = spsolve(
        mass(data.points, data.cells).tocsc(), cell_moments(data.points, data.cells) @ f
    )
    projection = Projection(data)(torch.from_numpy(f).float()).numpy()
    # the iteration stops at 1e-7, in single precision
    np.testing.assert_allclose(projection, exact, atol=5e-6 * np.abs(exact).max())


def test_bounds_of_the_mass_matrix_are_wathens():
    assert element_bounds(l_shape()) == pytest.approx((0.5, 2.0))
    assert element_bounds(l_shape(degree=2)) == pytest.approx(
        (0.3924, 2.0598), abs=1e-4
    )


def test_coarse_matrices_are_the_assembled_ones():
    data = l_shape(16)
    spaces, prolongations = build_levels(data, 4)
    assert [len(s.points) for s in spaces] == [833, 225, 65, 21]
    assert len(prolongations) == 3
    for space, (points, cells) in zip(spaces[1:], data.coarse, strict=False):
        assert abs(space.mass - mass(points, cells)).max() < 1e-14
        assert abs(space.stiffness - stiffness(points, cells)).max() < 1e-13


@pytest.mark.parametrize("degree", [1, 2])
def test_a_hierarchy_is_made_where_there_is_none(degree):
    data = l_shape(16, degree=degree, coarse=())
    spaces, prolongations = build_levels(data, 4)
    sizes = [len(s.points) for s in spaces]
    assert len(sizes) >= 3
    assert all(coarse < fine / 2 for fine, coarse in pairwise(sizes))
    for P, space in zip(prolongations, spaces[1:], strict=True):
        ones = np.ones(P.shape[1])
        np.testing.assert_allclose(P @ ones, 1.0, atol=1e-12)
        np.testing.assert_allclose(restriction(P) @ (P @ ones), 1.0, atol=1e-12)
        assert space.mass.sum() == pytest.approx(3.0)
        assert np.abs(space.stiffness @ ones).max() < 1e-12


def test_coarse_nodes_are_independent_and_reach_all_others():
    mesh = NotchedTriangle().mesh(8)
    zeros = np.zeros((1, len(mesh.points)))
    data = MeshShape(1, 1, "node", mesh.points, mesh.cells, zeros[0] > 0, zeros)
    (space,) = build_levels(data, 1)[0]
    nodes, P = independent_set(space)
    shared = space.mass.toarray() != 0
    assert shared[:, nodes].any(axis=1).all()
    assert (shared[np.ix_(nodes, nodes)] == np.eye(len(nodes))).all()
    assert (P[nodes].toarray() == np.eye(len(nodes))).all()
    np.testing.assert_allclose(P.sum(axis=1), 1.0, rtol=1e-14)
    assert (P.data > 0).all()


def test_harmonic_extension_and_torsion_are_exact():
    """g = 1 + 2x - y is its own extension; φ'' = -1 between two walls is a parabola."""
    points, cells = Square().mesh(8).points, Square().mesh(8).cells
    zeros = np.zeros((1, len(points)))
    edge = (points.min(axis=1) == 0) | (points.max(axis=1) == 1)
    data = MeshShape(1, 1, "node", points, cells, edge, zeros)
    (space,) = build_levels(data, 1)[0]
    g = (1 + points @ np.array([2.0, -1.0]))[None]
    np.testing.assert_allclose(lift(space, edge, g), g, atol=1e-13)
    walls = np.isin(points[:, 0], (0.0, 1.0))
    x = points[:, 0]
    np.testing.assert_allclose(torsion(space, walls), 4 * x * (1 - x), atol=1e-12)
    assert (torsion(space, np.zeros(len(points), bool)) == 1).all()


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(("degree", "levels"), [(1, 1), (1, 3), (2, 3)])
def test_dirichlet_values_are_exact(processor, degree, levels):
    data = l_shape(degree=degree, channels=2)
    model, x = build(data, processor=processor, n_levels=levels)
    u = model(x)
    assert u.shape == (6, 2, len(data.points))
    values = torch.from_numpy(data.given).float()
    fixed = torch.from_numpy(data.fixed)
    assert (u[..., fixed] == values[..., fixed]).all()
    assert not (u[..., ~fixed] == values[..., ~fixed]).any()
    u.square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("degree", [1, 2])
def test_numbering_size_and_place_of_the_mesh_do_not_matter(processor, degree):
    """Nodes and cells in any order, the domain moved and blown up: the same u."""
    data = l_shape(degree=degree)
    model, x = build(data, processor=processor)
    rng = np.random.default_rng(0)
    nodes, cells = rng.permutation(len(data.points)), rng.permutation(len(data.cells))
    number = np.argsort(nodes)
    other = replace(
        data,
        points=7.5 * data.points[nodes] + np.array([3.0, -20.0]),
        cells=number[data.cells[cells]],
        fixed=data.fixed[nodes],
        given=data.given[:, nodes],
        coarse=tuple((7.5 * p + np.array([3.0, -20.0]), c) for p, c in data.coarse),
    )
    with torch.no_grad():
        u = model(x)
        moved = _weights_of(model, build(other, processor=processor)[0])(x[..., cells])
    torch.testing.assert_close(moved, u[..., nodes], rtol=1e-4, atol=1e-4)


def _weights_of(model, other):
    other.load_state_dict(model.state_dict())
    return other


def test_mix_has_the_gradient_of_its_formula():
    torch.manual_seed(0)
    shapes = ((5, 3), (2, 5, 3), (3, 3, 3), (3,))
    x, y, w, b = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes
    )
    plain = x @ w[0] + torch.einsum("knc,kcd->nd", y, w[1:]) + b
    torch.testing.assert_close(_Mix.apply(x, y, w, b), plain)
    assert torch.autograd.gradcheck(_Mix.apply, (x, y, w, b))


def test_message_passing_is_its_formula():
    """Against loops over nodes and edges."""
    torch.manual_seed(0)
    space = build_levels(l_shape(4), 1)[0][0]
    block, graph = MessagePassing(4, 3), EdgeGraph(space)
    h = torch.randn(len(space.points), 2, 4)
    A, B = block.ends.weight[:4], block.ends.weight[4:]
    ends, features = space.edges()
    expected = torch.empty_like(h)
    for i in range(len(h)):
        mine = np.flatnonzero(ends[:, 0] == i)
        sent = [
            F.gelu(
                h[i] @ A.T
                + h[ends[e, 1]] @ B.T
                + block.edge(torch.from_numpy(features[e]).float())
            )
            for e in mine
        ]
        received = block.message(torch.stack(sent).mean(0))
        expected[i] = h[i] + block.out(F.gelu(block.own(h[i]) + received))
    torch.testing.assert_close(block(h, graph), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_on_another_mesh(processor):
    """On the same mesh nothing changes; on nested ones little does, at their nodes."""
    data = l_shape(16)
    model, _ = build(data, processor=processor, n_levels=3)

    def smooth(mesh: MeshShape) -> torch.Tensor:
        x, y = mesh.points[mesh.cells].mean(axis=1).T
        f = np.stack([np.sin(2 * x + y), np.cos(x - y)])
        return torch.from_numpy(2 + f).float()[:, None]

    with torch.no_grad():
        u = model(smooth(data))
        assert torch.equal(model.on(data)(smooth(data)), u)
        fine = l_shape(32)
        finer = model.on(fine)(smooth(fine))
    assert finer.shape == (2, 1, len(fine.points))
    # 0.5, the mean, where the parts with -1 and 2 meet
    fixed = finer[..., torch.from_numpy(fine.fixed)].unique().tolist()
    assert fixed == [-1.0, 0.5, 2.0]
    shared = finer[..., : len(data.points)]  # old nodes come first
    change = shared - model.hierarchy.lifted
    error = (shared - u).norm() / (u - model.hierarchy.lifted).norm()
    assert change.norm() > 0.1
    # the encoder and the Dirichlet corner differ by O(h), h = 1/16
    assert error < 2 / 16


def test_tetrahedra_and_bad_input():
    grid = np.array([(x, y, z) for x in range(3) for y in range(3) for z in range(3)])
    from scipy.spatial import Delaunay

    points = grid + 0.05 * np.random.default_rng(0).random(grid.shape)
    cells = Delaunay(points).simplices.astype(np.int64)
    used, cells = np.unique(cells, return_inverse=True)
    points, cells = points[used], cells.reshape(-1, 4)
    fixed = points[:, 0] < 0.5
    data = MeshShape(1, 1, "cell", points, cells, fixed, np.zeros((1, len(points))))
    model, x = build(data)
    u = model(x)
    assert u.isfinite().all() and (u[..., torch.from_numpy(fixed)] == 0).all()
    with pytest.raises(OpkitInputError, match="3 dimensions for an operator of 2"):
        build(l_shape(4))[0].on(data)
    with pytest.raises(OpkitInputError, match="out_channels is 2"):
        build(l_shape(4))[0].on(l_shape(4, channels=2))
    with pytest.raises(OpkitInputError, match="not positive"):
        model, x = build(l_shape(4), log_inputs=True)
        model.prepare({"inputs": x - 1, "outputs": x})
    small = l_shape(4)
    with pytest.raises(OpkitInputError, match="finest first"):
        build(replace(small, coarse=(l_shape(8).coarse[0], l_shape(16).coarse[0])))
    away = tuple((p + 9.0, c) for p, c in l_shape(8).coarse)
    with pytest.raises(OpkitInputError, match="outside the mesh"):
        build(replace(l_shape(8), coarse=away))
    assert LShape().mesh(4).points.shape == small.points.shape
