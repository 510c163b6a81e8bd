"""Operators on domains with boundary data: what all promise, and what BENO is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from opkit.errors import OpkitInputError
from opkit.operators import OPERATORS
from opkit.operators.beno.beno import superposition_error
from opkit.operators.beno.graph import build_levels
from opkit.operators.beno.published import PublishedBENO
from opkit.operators.beno.published_features import Graphs, edges_of
from opkit.operators.beno.published_weights import load_published
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator, operator_class
from opkit.operators.layers.boundary_curve import CURVE, curve_of
from opkit.operators.shapes import DataShape
from opkit.solvers.elliptic_boundary.laws import CornerCuts
from opkit.solvers.elliptic_boundary.solver import EllipticBoundary

Samples = dict[str, torch.Tensor]
CELLS = 12
ROLES = {"inputs": ("source", "inside"), "boundary": CURVE, "outputs": ("potential",)}
SHAPE = DataShape(2, 1, (CELLS,) * 2, (False,) * 2, (1.0,) * 2, CURVE)
SMALL = {"hidden_channels": 8, "n_layers": 2, "transformer_layers": 1, "n_heads": 2}
VARIANTS = {
    "beno": ("beno", {**SMALL, "levels": 3}),
    "beno-parity": ("beno", {**SMALL, "parity": True, "mlp_layers": 1}),
    "embedded-fno": (
        "embedded",
        {"operator": "fno", "model": {"n_modes": (5, 5), "hidden_channels": 8}},
    ),
    "embedded-unet": (
        "embedded",
        {"operator": "unet", "model": {"hidden_channels": 8, "n_scales": 3}},
    ),
}


def samples(count: int, cells: int = CELLS, seed: int = 0, **law) -> Samples:
    case = EllipticBoundary(resolution=(cells, cells), distribution=CornerCuts(**law))
    drawn = [case.sample(np.random.default_rng([seed, i])) for i in range(count)]
    fields = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}
    fields |= case.solve(fields).outputs
    return {
        role: torch.from_numpy(np.stack([fields[n] for n in names], 1)).float()
        for role, names in ROLES.items()
    }


@pytest.fixture(scope="module")
def mixed() -> Samples:
    """Domains of different sizes with Dirichlet and Neumann data."""
    return samples(6, corners=(0, 2, 4), condition="mixed")


def build(variant: str, data: Samples, shape: DataShape = SHAPE):
    torch.manual_seed(0)
    name, options = VARIANTS[variant]
    model = build_operator(name, shape, options)
    model.prepare(data)
    return model


def relative_l2(u, exact):
    error = (u - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    return error.mean().item()


def test_every_operator_for_boundaries_is_tested():
    names = {n for n in OPERATORS if "boundary" in operator_class(n).accepts.geometries}
    assert names == {name for name, _ in VARIANTS.values()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_graphs_of_different_sizes_do_not_see_each_other(variant, mixed):
    model = build(variant, mixed).eval()
    x, boundary = mixed["inputs"], mixed["boundary"]
    assert len({int(n) for n in x[:, 1].sum((1, 2))}) > 2
    with torch.no_grad():
        u = model(Inputs(x, boundary=boundary))
        assert u.shape == (6, 1, CELLS, CELLS)
        assert (u[x[:, 1:] == 0] == 0).all()
        for i in range(6):
            alone = model(Inputs(x[i : i + 1], boundary=boundary[i : i + 1]))
            # other sizes sum in another order, in fp32
            torch.testing.assert_close(alone[0], u[i], rtol=1e-4, atol=1e-5)
        moved = mixed["boundary"].clone()
        moved[0, CURVE.index("boundary_value"), 3] += 1.0
        changed = (model(Inputs(x, boundary=moved)) - u).abs().amax((1, 2, 3))
    assert changed[0] > 1e-4
    assert (changed[1:] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_everything(variant, mixed):
    model = build(variant, mixed)
    x = mixed["inputs"].clone().requires_grad_()
    boundary = mixed["boundary"].clone().requires_grad_()
    (model(Inputs(x, boundary=boundary)) - mixed["outputs"]).square().mean().backward()
    dead = [
        key
        for key, p in model.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not dead
    inside = x[:, 1] > 0
    assert x.grad.isfinite().all() and (x.grad[:, 0][inside] != 0).all()
    values = boundary.grad[:, CURVE.index("boundary_value")]
    assert values.isfinite().all() and (values.abs().amax(1) > 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_saves_and_loads_in_any_order_of_channels(variant, mixed, tmp_path):
    model = build(variant, mixed).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    turned = CURVE[3:] + CURVE[:3]
    shape = DataShape(2, 1, SHAPE.shape, SHAPE.periodic, SHAPE.extent, turned)
    torch.manual_seed(1)
    other = build_operator(*VARIANTS[variant][:1], shape, VARIANTS[variant][1])
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    boundary = mixed["boundary"]
    with torch.no_grad():
        u = model(Inputs(mixed["inputs"], boundary=boundary))
        again = other.eval()(
            Inputs(mixed["inputs"], boundary=boundary.roll(-3, dims=1))
        )
    assert torch.equal(again, u)


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_grid_is_refused_or_runs(variant, mixed):
    model, fine = build(variant, mixed).eval(), samples(2, 20)
    if VARIANTS[variant][0] == "beno":
        with pytest.raises(OpkitInputError, match="built for 12 by 12 cells, not 20"):
            model(Inputs(fine["inputs"], boundary=fine["boundary"]))
        return
    with torch.no_grad():
        u = model(Inputs(fine["inputs"], boundary=fine["boundary"]))
    assert u.shape == (2, 1, 20, 20)
    assert u.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_several_outputs(variant, mixed):
    name, options = VARIANTS[variant]
    two = DataShape(2, 2, SHAPE.shape, SHAPE.periodic, SHAPE.extent, CURVE)
    with torch.no_grad():
        u = build_operator(name, two, options)(
            Inputs(mixed["inputs"], boundary=mixed["boundary"])
        )
    assert u.shape == (6, 2, CELLS, CELLS)
    assert (u[:, 0] - u[:, 1]).abs().max() > 0


def fit(model, data, steps, batch) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randperm(len(data["inputs"]), generator=generator)[:batch]
        u = model(Inputs(data["inputs"][chosen], boundary=data["boundary"][chosen]))
        optimiser.zero_grad()
        (u - data["outputs"][chosen]).square().mean().backward()
        optimiser.step()
        schedule.step()


def test_beno_learns_the_solution_operator_from_few_samples():
    """Trained on four corners, tested on the whole square, of which it saw none."""
    data, new = samples(48, 8), samples(16, 8, seed=1, corners=0)
    shape = DataShape(2, 1, (8, 8), SHAPE.periodic, SHAPE.extent, CURVE)
    model = build("beno", data, shape)
    fit(model, data, 70, 8)
    with torch.no_grad():
        u = model(Inputs(new["inputs"], boundary=new["boundary"]))
    # the mean predictor has 1: potentials are symmetric about 0
    assert relative_l2(u, new["outputs"]) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_overfits_one_batch(variant):
    data = samples(4, 8)
    shape = DataShape(2, 1, (8, 8), SHAPE.periodic, SHAPE.extent, CURVE)
    model = build(variant, data, shape)
    fit(model, data, 300, 4)
    with torch.no_grad():
        u = model(Inputs(data["inputs"], boundary=data["boundary"]))
    assert relative_l2(u, data["outputs"]) < 0.2


def test_linear_and_zero_of_zero(mixed):
    model = build("beno", mixed).eval()
    x, boundary = mixed["inputs"], mixed["boundary"]
    # sums of a few thousand terms in fp32
    assert superposition_error(model, x, boundary).max() < 1e-4
    parity = build("beno-parity", mixed).eval()
    assert superposition_error(parity, x, boundary).max() > 1e-2
    nothing, still = x.clone(), boundary.clone()
    nothing[:, 0] = 0
    still[:, CURVE.index("boundary_value")] *= 0
    with torch.no_grad():
        assert (model(Inputs(nothing, boundary=still)) == 0).all()
        scaled = still + 3 * (boundary - still)
        torch.testing.assert_close(
            model(Inputs(nothing, boundary=scaled)),
            3 * model(Inputs(nothing, boundary=boundary)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_mean_is_zero_for_pure_neumann_data_only(mixed):
    free = samples(3, condition="neumann")
    model = build("beno", mixed).eval()
    with torch.no_grad():
        u = model(Inputs(free["inputs"], boundary=free["boundary"])).sum((1, 2, 3))
        other = model(Inputs(mixed["inputs"], boundary=mixed["boundary"])).sum(
            (1, 2, 3)
        )
    assert u.abs().max() < 1e-3 < other.abs().min()  # rounding of a hundred cells


def test_start_of_the_curve_does_not_matter(mixed):
    x, boundary = mixed["inputs"], mixed["boundary"]
    with torch.no_grad():
        for variant, changes in (("beno", False), ("beno-parity", True)):
            model = build(variant, mixed).eval()
            u, moved = (
                model(Inputs(x, boundary=boundary)),
                model(Inputs(x, boundary=boundary.roll(5, dims=2))),
            )
            same = torch.allclose(u, moved, rtol=1e-4, atol=1e-5)
            assert same != changes  # positions are numbered in the published encoder


def test_levels_hold_every_cell_once(mixed):
    inside = mixed["inputs"][:, 1]
    curve = curve_of(mixed["boundary"], list(range(6)))
    levels = build_levels(inside, curve, 4)
    assert [level.cells for level in levels] == [12, 6, 3, 2]
    for level in levels:
        weight = (12 / level.cells) ** 2 if level.cells != 2 else 64
        assert level.share.sum() * weight == pytest.approx(float(inside.sum()))
        back = level.source * level.nodes + level.target
        there = level.target * level.nodes + level.source
        assert torch.equal(back.sort().values, there.sort().values)
        assert (level.face >= 0).all()
    # edges join cells that are neighbours in the same sample
    place = levels[0].flat
    step = (place[levels[0].source] - place[levels[0].target]).abs()
    assert set(step.tolist()) == {1, 11, 12, 13}


@pytest.fixture(scope="module")
def published():
    """One sample through the published code: features, weights and its answer."""
    with np.load(Path(__file__).parent / "data" / "beno_reference.npz") as file:
        stored = {name: torch.from_numpy(file[name]) for name in file.files}
    model = PublishedBENO(1, 8, 2, 3, 2, 2).eval()
    weights = {k[2:]: v for k, v in stored.items() if k.startswith("w:")}
    load_published(model, weights)
    curve = curve_of(torch.stack([stored[n] for n in CURVE], 1), list(range(6)))
    model.fit(stored["source"], stored["inside"], curve, stored["u"][:, None])
    return stored, weights, model, curve


def test_published_features(published):
    stored, _, model, curve = published
    graphs = Graphs.of(stored["inside"])
    features = model.scales.features(stored["source"], stored["inside"], curve, graphs)
    nodes, edges, tokens = features
    mine = graphs.sample == 0
    # rounding of float32 against the float64 of the reference's preparation
    torch.testing.assert_close(nodes[mine], stored["nodes0"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[0], stored["tokens0"], rtol=1e-4, atol=1e-5)
    ours = {
        (int(a), int(b)): edges[k]
        for k, (a, b) in enumerate(zip(graphs.source, graphs.target, strict=True))
        if graphs.sample[a] == 0
    }
    theirs = stored["edges0"].T.tolist()
    shared = [k for k, (a, b) in enumerate(theirs) if (a, b) in ours]
    # nearest neighbours are tied at distances of two cells and more
    assert len(shared) > 0.85 * len(theirs)
    near = {
        (a, b)
        for (a, b) in ours
        if (nodes[mine][a, :2] - nodes[mine][b, :2]).norm() < 1.5 / 12
    }
    assert near <= {(a, b) for a, b in theirs}
    for k in shared:
        a, b = theirs[k]
        torch.testing.assert_close(
            ours[a, b], stored["attributes0"][k], rtol=1e-4, atol=1e-5
        )


def test_published_network(published):
    """The published weights give the published answer on the published graph."""
    stored, weights, model, _ = published
    source, target = stored["edges0"].long()
    count = len(stored["nodes0"])
    zero = torch.zeros(count, dtype=torch.long)
    degree = torch.bincount(target, minlength=count).float()
    graphs = Graphs(zero, zero, source, target, degree, 12)
    with torch.no_grad():
        u = model.scales.decode(
            model.branches(
                stored["nodes0"], stored["attributes0"], stored["tokens0"][None], graphs
            )
        )
    # fp32, twenty layers; the answer varies by 0.2
    torch.testing.assert_close(u, stored["u0"], rtol=1e-4, atol=1e-5)
    damaged = {k: v for k, v in weights.items() if "gnn_stacks.1" not in k}
    with pytest.raises(OpkitInputError, match="not in the published weights"):
        load_published(model, damaged)


def test_published_size():
    """8,736,962 parameters, of which 20 tables of 76 x 128 are not used."""
    model = PublishedBENO(1, 128, 10, 3, 3, 2)
    assert sum(p.numel() for p in model.parameters()) == 8_736_962 - 20 * 76 * 128


def test_published_edges_are_symmetric_and_join_the_nearest():
    inside = np.ones((9, 9), bool)
    inside[:4, :3] = False
    source, target = edges_of(inside)
    count = int(inside.sum())
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == len(source)
    assert set(source * count + target) == set(target * count + source)
    assert np.bincount(target, minlength=count).min() >= 11
    assert (np.bincount(target[source == target], minlength=count) == 1).all()


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("beno", {}, {"boundary_channels": CURVE[:3]}, "lack boundary_kind"),
        ("beno", {}, {"in_channels": 3}, "source and inside, not 3"),
        ("beno", {}, {"shape": (12, 10)}, "square grids"),
        ("beno", {"n_heads": 5}, {}, "not a multiple of model.n_heads 5"),
        ("beno", {"n_head": 5}, {}, "unknown key"),
        ("embedded", {"operator": "spon"}, {}, "takes no grids; choose fno"),
        ("embedded", {"operator": "fnoo"}, {}, "Did you mean 'fno'"),
        ("embedded", {"model": {"n_mode": 3}}, {}, "unknown key 'n_mode'"),
        ("embedded", {}, {"boundary_channels": ()}, "have none"),
    ],
)
def test_what_does_not_fit_is_refused(name, options, shape, message):
    data = DataShape(**{**SHAPE.__dict__, **shape})
    with pytest.raises(OpkitInputError, match=message):
        build_operator(name, data, options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_curves_that_do_not_close_are_refused(variant, mixed):
    model = build(variant, mixed).eval()
    x, boundary = mixed["inputs"], mixed["boundary"]
    crossed = boundary.clone()
    crossed[1, :, [4, 9]] = crossed[1, :, [9, 4]]
    with pytest.raises(OpkitInputError, match="sample 1: boundary is not closed: face"):
        model(Inputs(x, boundary=crossed))
    away = boundary.clone()
    away[2, CURVE.index("boundary_x"), 7] = 0.5
    away[2, CURVE.index("boundary_y"), 7] = 0.5
    with pytest.raises(OpkitInputError, match=r"sample 2: boundary face 7 at \(0\.5"):
        model(Inputs(x, boundary=away))
    backwards = boundary.flip(2)
    with pytest.raises(OpkitInputError, match="counter-clockwise"):
        model(Inputs(x, boundary=backwards))
