"""Answers at any points: equal at the nodes, of known order between them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError
from opkit.generate import generate
from opkit.solvers.fem.domains import Square
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.surrogate import anywhere
from opkit.surrogate.anywhere import Points, between

F64 = torch.float64


def inside(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 2))


def grid_points(n: int, wraps: bool = False) -> np.ndarray:
    """Nodes (x, y) in the order of a field (y, x) laid flat."""
    axis = np.arange(n) / (n if wraps else n - 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


def slope(errors: list[float]) -> float:
    """Order of convergence between halved steps, of the last two."""
    return float(np.log2(errors[-2] / errors[-1]))


def test_linear_interpolation_is_of_second_order() -> None:
    x = inside(200)
    exact = np.sin(3 * x[:, 1]) * np.exp(x[:, 0])
    errors = []
    for n in (17, 33, 65):
        at = grid_points(n).reshape(n, n, 2)
        u = torch.from_numpy(np.sin(3 * at[..., 1]) * np.exp(at[..., 0]))
        unit = torch.from_numpy(x[:, ::-1].copy())  # axes are y, x
        values = between(u[None, None], unit, (False, False))[0, 0]
        off = values - torch.from_numpy(exact)
        errors.append(float(off.square().mean().sqrt()))
    assert slope(errors) == pytest.approx(2, abs=0.15)  # 200 places, at random in cells


@pytest.mark.parametrize("n", [16, 17])
def test_trigonometric_interpolation_is_exact_up_to_half_the_nodes(n: int) -> None:
    x = torch.rand(50, 2, dtype=F64)
    axis = torch.arange(n, dtype=F64) / n

    def u(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (2 * torch.pi * (7 * x - 3 * y)).sin() + (4 * torch.pi * y).cos()

    values = between(u(axis[:, None], axis), x, (True, True))
    # 7 < n / 2; round-off of sums of n terms
    assert (values - u(x[:, 0], x[:, 1])).abs().max() < 1e-13
    mixed = between(u(axis[:, None], axis), x, (True, False))
    assert mixed.shape == (50,)


def test_waves_faster_than_any_power_and_linear_axes_beside_them() -> None:
    """exp(sin 2πx) converges beyond order 8; with y linear the whole is of order 2."""
    # so many points that some lie next to where the error is largest on each grid
    x = torch.rand(10_000, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    errors: dict[tuple[bool, bool], list[float]] = {}
    for n in (8, 16, 32):
        wraps, ends = torch.arange(n, dtype=F64) / n, torch.linspace(0, 1, n, dtype=F64)
        for kind in ((True, True), (False, True)):
            y = (wraps if kind[0] else ends)[:, None]
            wave = (2 * torch.pi * wraps).sin().exp()
            side = (2 * torch.pi * y).cos() + 2
            exact = (2 * torch.pi * x[:, 1]).sin().exp()
            exact = exact * ((2 * torch.pi * x[:, 0]).cos() + 2)
            off = between(wave * side, x, kind) - exact
            errors.setdefault(kind, []).append(float(off.abs().max()))
    assert slope(errors[True, True]) > 8
    assert slope(errors[False, True]) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("degree", [1, 2])
def test_elements_are_of_their_order_and_have_its_derivatives(degree: int) -> None:
    x = torch.from_numpy(0.05 + 0.9 * inside(100)).requires_grad_()
    errors, slopes = [], []
    for cells in (8, 16, 32):
        mesh = Square().mesh(cells)
        nodes, elements = lagrange_nodes(mesh, degree)
        u = np.sin(3 * nodes[:, 1]) * np.exp(nodes[:, 0])
        ask = anywhere._on_elements(nodes, elements, Points(("x", "y"), x))
        values = ask(torch.from_numpy(u))
        exact = (3 * x[:, 1]).sin() * x[:, 0].exp()
        errors.append(float((values - exact).detach().square().mean().sqrt()))
        own, true = (
            torch.autograd.grad(v.sum(), x, retain_graph=True)[0]
            for v in (values, exact)
        )
        slopes.append(float((own - true).square().mean().sqrt()))
    assert slope(errors) == pytest.approx(degree + 1, abs=0.25)
    assert slope(slopes) == pytest.approx(degree, abs=0.25)


@pytest.mark.parametrize("wraps", [False, True])
def test_between_moved_nodes_linear_functions_are_exact(wraps: bool) -> None:
    """On a sheared sheet, and on a ring whose second axis closes."""
    m, n = 6, 24
    s, t = np.linspace(0, 1, m)[:, None], np.arange(n) / (n if wraps else n - 1)
    if wraps:
        radius, angle = 1 + s, 2 * np.pi * t
        nodes = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
        where = np.array([[1.5, 0.1], [-1.2, 0.3], [1.4, -0.05]])
    else:
        nodes = np.stack([t + 0.3 * s**2, s + 0 * t], -1)
        where = np.array([[0.5, 0.5], [1.0, 0.9], [0.1, 0.05]])
    cells = anywhere._triangles((m, n), (False, wraps))
    x = torch.from_numpy(where)
    ask = anywhere._on_elements(nodes.reshape(-1, 2), cells, Points(("x", "y"), x))
    values = ask(torch.from_numpy(2 * nodes[..., 0] - 3 * nodes[..., 1] + 1).flatten())
    exact = 2 * x[:, 0] - 3 * x[:, 1] + 1
    torch.testing.assert_close(values, exact, rtol=0, atol=1e-13)
    with pytest.raises(OpkitInputError, match=r"point 0 at \(9, 9\) lies outside"):
        far = Points(("x", "y"), torch.tensor([[9.0, 9.0]], dtype=F64))
        anywhere._on_elements(nodes.reshape(-1, 2), cells, far)


def test_at_the_nodes_of_a_grid_it_is_the_usual_answer(darcy) -> None:
    s = darcy.load()
    assert s.how_at == "linear interpolation"
    a = darcy.permeability[:3]
    usual = s(a)
    # float32: sums of four products, three of them with weights of round-off
    tolerance = 4e-7 * float(np.abs(usual).max())
    at = s(a, at=grid_points(17))
    assert at.shape == (3, 289)
    np.testing.assert_allclose(at.reshape(3, 17, 17), usual, rtol=0, atol=tolerance)
    one = s(a[0], at=grid_points(17)[40:41])
    assert one.shape == (1,)
    assert one[0] == pytest.approx(usual[0].ravel()[40], abs=tolerance)


def test_kinds_of_inputs_and_of_points_agree(darcy) -> None:
    s, a, x = darcy.load(), darcy.permeability[:2], inside(5)
    array = s(a, at=x)
    by_name = {"x": x[:, 0], "y": x[:, 1]}
    np.testing.assert_array_equal(s(a, at=by_name), array)
    tensor = s(torch.from_numpy(a), at=torch.from_numpy(x))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), array)
    mapping = s({"permeability": a}, at=x)
    np.testing.assert_array_equal(mapping["pressure"], array)
    axis = np.linspace(0, 1, 17)
    fields = xr.DataArray(
        a, dims=("sample", "y", "x"), coords={"y": axis, "x": axis, "sample": [4, 7]}
    )
    places = xr.Dataset({"x": ("spot", x[:, 0]), "y": ("spot", x[:, 1])})
    answer = s(fields, at=places)
    assert answer.dims == ("sample", "point") and answer.name == "pressure"
    np.testing.assert_array_equal(answer, array)
    np.testing.assert_array_equal(answer.x, x[:, 0])
    np.testing.assert_array_equal(answer.sample, [4, 7])
    assert answer.attrs["how"] == "linear interpolation"
    pytest.importorskip("dask")
    lazy = s(fields.chunk(sample=1), at=x)
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, array, rtol=1e-5)
    assert s(a, at=np.zeros((0, 2))).shape == (2, 0)


def test_gradients_with_respect_to_points(darcy) -> None:
    """Against a central difference within a cell, where the answer is bilinear."""
    s = darcy.load()
    s.model.double()
    a = torch.from_numpy(darcy.permeability[:1]).double()
    x = torch.tensor([[0.31, 0.72], [0.55, 0.2]], dtype=F64, requires_grad=True)
    (slopes,) = torch.autograd.grad(s(a, at=x).sum(), x)
    h = 1e-4
    for k in range(2):
        step = h * torch.eye(2, dtype=F64)[k]
        with torch.no_grad():
            change = (s(a, at=x + step) - s(a, at=x - step))[0] / (2 * h)
        torch.testing.assert_close(slopes[:, k], change, rtol=1e-8, atol=1e-9)
    # numpy inputs beside such points answer in numpy
    assert isinstance(s(a.numpy(), at=x), np.ndarray)


def test_points_that_cannot_be_are_refused_by_name(darcy) -> None:
    s, a = darcy.load(), darcy.permeability[:1]
    for at, message in (
        (
            [[0.5, 0.5], [1.2, 0.5]],
            r"point 1 \(y = 0.5, x = 1.2\) lies outside",
        ),
        ([[0.5, np.nan]], "point 0 .* is not finite"),
        ([0.5, 0.5], r"shape \(2,\): give \(point, 2\) with the columns x, y"),
        ([[0.5, 0.5, 0.5]], r"shape \(1, 3\)"),
        ({"x": [0.5]}, "coordinates x: give y, x"),
        ({"x": [0.5], "y": [0.1, 0.2]}, "give one"),
    ):
        with pytest.raises(OpkitInputError, match=message) as caught:
            s(a, at=at if isinstance(at, dict) else np.array(at))
        assert "\n" not in str(caught.value)
    assert s(a, at=[[1.0, 1.0 + 1e-12]]).shape == (1, 1)  # rounding is no outside
    with pytest.raises(OpkitInputError, match="judges whole fields"):
        s(a, check=True, at=inside(2))
    field = xr.DataArray(a, dims=("point", "y", "x"))
    with pytest.raises(OpkitInputError, match="a dim point"):
        s(field, at=inside(2))


def test_domains_cut_out_of_a_grid_are_refused(darcy) -> None:
    s = darcy.load()
    geometry = {**s.config.case["geometry"], "kind": "grid-with-holes"}
    case = {**s.config.case, "geometry": geometry}
    other = s.config.model_copy(update={"case": case})
    ask = anywhere.Anywhere(other, s.model, s.shape)
    with pytest.raises(OpkitInputError, match=r"cut out of its grid .*-with-holes"):
        ask.ask(s.predict, ask.points(inside(2)))


def test_a_deeponet_is_asked_itself(darcy, tmp_path) -> None:
    few = ["training.epochs=1", "model.n_basis=8", "subsample=1"]
    opkit.train(
        darcy.data, tmp_path / "d", operator="deeponet", overrides=few, device="cpu"
    )
    s = opkit.load(tmp_path / "d")
    assert s.how_at == "the operator itself"
    a = darcy.permeability[:2]
    usual = s(a).reshape(2, -1)
    at = s(a, at=grid_points(17))
    # the trunk in float32 at places that round alike
    np.testing.assert_allclose(at, usual, rtol=0, atol=2e-6 * np.abs(usual).max())
    # between nodes it is smooth, not the interpolation: second differences agree
    s.model.double()
    x = np.stack([np.linspace(0.4, 0.45, 21), np.full(21, 0.52)], 1)
    line = s(a.astype(np.float64), at=x)[0]
    second = np.diff(line, 2)
    assert np.abs(second).min() > 0  # an interpolation would be straight
    assert np.ptp(second) < 0.2 * np.abs(second).max()


def test_periodic_grids_wrap_around(make_data, tmp_path) -> None:
    data = make_data()
    few = ["training.epochs=1"]
    opkit.train(data, tmp_path / "t", operator="fno", overrides=few, device="cpu")
    s = opkit.load(tmp_path / "t")
    assert s.how_at == "trigonometric interpolation"
    with DataFile(data) as file:
        a = file.read("forcing", np.arange(2))
    usual = s(a)
    at = s(a, at=2 * np.pi * grid_points(16, wraps=True))
    tolerance = 1e-6 * np.abs(usual).max()  # float32, sums of 16 products twice
    np.testing.assert_allclose(at.reshape(usual.shape), usual, rtol=0, atol=tolerance)
    there = s(a, at=2 * np.pi * (inside(4) + 3))
    np.testing.assert_allclose(
        there, s(a, at=2 * np.pi * inside(4)), rtol=0, atol=tolerance
    )


def test_rollouts_answer_at_points_too(make_trajectories, tmp_path) -> None:
    data = make_trajectories()
    settings = ["mode=autoregressive", "training.epochs=1", "model.n_modes=[8]"]
    opkit.train(data, tmp_path / "w", operator="fno", overrides=settings, device="cpu")
    s = opkit.load(tmp_path / "w")
    with DataFile(data) as file:
        first = file.read("initial_wave", np.arange(3))[:, None, None]
    frames = s.rollout(first, 3)
    x = np.arange(16) * 2 * np.pi / 16
    at = s.rollout(first, 3, at=x)
    assert at.shape == (3, 3, 1, 16)
    tolerance = 1e-6 * np.abs(frames).max()
    np.testing.assert_allclose(at, frames, rtol=0, atol=tolerance)
    wave = xr.DataArray(first[:, :, 0], dims=("sample", "time", "x"))
    rolled = s.rollout(wave, 3, at={"x": x})
    assert rolled.dims == ("sample", "time", "point")
    np.testing.assert_allclose(rolled, at[:, :, 0], rtol=0, atol=tolerance)


def test_axes_that_do_not_start_at_zero(make_data, tmp_path) -> None:
    """The bundle knows where its axes start; older ones ask the case."""
    case = opkit.load_case("burgers", ("resolution=32",))
    data = generate(case, tmp_path / "b.h5", samples=12)
    few = ["training.epochs=1"]
    opkit.train(data, tmp_path / "b", operator="fno", overrides=few, device="cpu")
    s = opkit.load(tmp_path / "b")
    with DataFile(data) as file:
        start = file.header.coordinates["x"].values[0]
        assert s.config.axis_starts == {"x": start}
    shifted = s.config.model_copy(update={"axis_starts": {"x": start - 2.0}})
    moved = anywhere.Anywhere(shifted, s.model, s.shape)
    here = s._anywhere._unit(s._anywhere.points(np.array([start])))
    there = moved._unit(moved.points(np.array([start - 2.0])))
    assert torch.equal(here, there) and here.item() == 0


@pytest.fixture(scope="module")
def bumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flow over bumps: nodes that lie elsewhere for each sample."""
    pytest.importorskip("dolfinx_solver")
    folder = tmp_path_factory.mktemp("bumps")
    sizes = ("samples.train=10", "samples.validation=4", "samples.test=2")
    case = opkit.load_case("channel-bumps", ("resolution=[13, 33]", *sizes))
    data = generate(case, folder / "d.h5")
    opkit.train(data, folder / "run", operator="pod-gp", device="cpu")
    return folder


def test_moved_nodes_are_asked_where_they_lie(bumps) -> None:
    s = opkit.load(bumps / "run")
    assert s.how_at == "linear interpolation between moved nodes"
    with DataFile(bumps / "d.h5") as file:
        rows = np.array([14, 15])
        numbers = {v.name: file.read(v.name, rows) for v in file.header.inputs}
    solver = s.checker.context.case_solver.solver
    nodes = solver.points({k: np.asarray(v, float) for k, v in numbers.items()})
    one = {name: values[:1] for name, values in numbers.items()}
    usual = s(one)["velocity_x"]
    at = s(one, at=nodes[0].reshape(-1, 2))["velocity_x"]
    np.testing.assert_allclose(
        at.reshape(usual.shape), usual, rtol=0, atol=1e-6 * np.abs(usual).max()
    )
    # each sample has nodes of its own: a point of both
    both = s(numbers, at=[[3.0, 0.8]])["velocity_x"]
    alone = [
        s({k: v[i] for k, v in numbers.items()}, at=[[3.0, 0.8]])["velocity_x"]
        for i in range(2)
    ]
    np.testing.assert_allclose(both, alone, rtol=1e-5)
    with pytest.raises(OpkitInputError, match=r"point 0 at \(.*outside.* of sample 0"):
        s(one, at=[[float(one["places"][0, 0]), 0.02]])  # inside the bump
    tensors = {k: torch.from_numpy(v).requires_grad_() for k, v in one.items()}
    with pytest.raises(OpkitInputError, match="nodes move with the inputs"):
        s(tensors, at=[[3.0, 0.8]])


@pytest.mark.parametrize(
    ("operator", "sizes", "how"),
    [
        (
            "transolver",
            ["model.n_heads=2", "model.n_slices=4"],
            "linear interpolation between moved nodes",
        ),
        ("gino", ["model.latent_shape=[12, 8]"], "the operator itself"),
    ],
)
def test_operators_that_are_given_their_nodes_are_asked_where_these_lie(
    bumps, tmp_path, operator, sizes, how
) -> None:
    """Places that the caller gives, and those of the solver, which are the same."""
    few = ["training.epochs=1", "model.hidden_channels=8", "model.n_layers=1", *sizes]
    opkit.train(
        bumps / "d.h5", tmp_path / "t", operator=operator, overrides=few, device="cpu"
    )
    s = opkit.load(tmp_path / "t")
    assert s.how_at == how
    with DataFile(bumps / "d.h5") as file:
        rows = np.array([14])
        names = [v.name for v in file.header.inputs]
        numbers = {name: file.read(name, rows) for name in names}
        nodes = file.read("points", rows)
    usual = s(numbers)["pressure"]
    at = nodes[0].reshape(-1, 2)[100:110].astype(float)
    known = s(numbers, at=at)["pressure"]
    # nodes stored in float32 lie by 1e-7 of the channel beside the solver's
    np.testing.assert_allclose(
        known[0], usual[0].ravel()[100:110], rtol=0, atol=2e-5 * np.abs(usual).max()
    )
    given = s({**numbers, "points": nodes}, at=at)["pressure"]
    np.testing.assert_allclose(known, given, rtol=0, atol=2e-5 * np.abs(usual).max())
    with pytest.raises(OpkitInputError, match=r"point 0 at \(.*outside.* of sample 0"):
        s(numbers, at=[[float(numbers["places"][0, 0]), 0.02]])  # inside the bump


@pytest.mark.fem
def test_meshes_answer_by_their_elements(tmp_path) -> None:
    sizes = ("samples.train=12", "samples.validation=4", "samples.test=0")
    case = opkit.load_case("darcy-mesh", ("resolution=4", *sizes))
    data = generate(case, tmp_path / "m.h5")
    few = ["training.epochs=1", "model.hidden_channels=8", "model.n_layers=1"]
    opkit.train(data, tmp_path / "m", operator="spon", overrides=few, device="cpu")
    s = opkit.load(tmp_path / "m")
    assert s.how_at == "basis functions of the elements, of degree 1"
    with DataFile(data) as file:
        a = file.read(file.header.inputs[0].name, np.arange(2))
    usual = s(a)
    nodes = s.mesh.points
    at = s(a, at=nodes)
    np.testing.assert_allclose(at, usual, rtol=0, atol=1e-6 * np.abs(usual).max())
    middle = nodes[s.mesh.cells[:, :2]].mean(1)
    edge = usual[:, s.mesh.cells[:, :2]].mean(-1)
    np.testing.assert_allclose(
        s(a, at=middle), edge, rtol=0, atol=1e-6 * np.abs(usual).max()
    )
    corner = nodes.max(0)  # of the box of the L, which is cut out or not
    with pytest.raises(OpkitInputError, match="lies outside the mesh"):
        s(a, at=[corner + 0.3])
