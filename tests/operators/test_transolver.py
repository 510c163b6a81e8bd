"""Transolver: the published sizes and sums, and what weights in them do."""

import numpy as np
import pytest
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator
from opkit.operators.layers.nodes import Nodes
from opkit.operators.shapes import DataShape, MeshShape
from opkit.operators.transolver.attention import PhysicsAttention
from opkit.solvers.fem.domains import Square

SMALL = dict(hidden_channels=16, n_layers=2, n_heads=2, n_slices=8)


def cloud(n: int, fields: int = 1, numbers: int = 2) -> DataShape:
    return DataShape(
        fields, 2, (n,), (False,), (1.0,), parameters=numbers, point_axes=2
    )


def built(data: DataShape | MeshShape, **more: object) -> torch.nn.Module:
    """With weights large enough that everything matters."""
    torch.manual_seed(0)
    model = build_operator("transolver", data, SMALL | more)
    for p in model.parameters():
        if p.ndim == 2:
            torch.nn.init.normal_(p, std=p.shape[1] ** -0.5)
    return model.eval()


def drawn(n: int, batch: int = 3, seed: int = 1) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    return Inputs(
        torch.randn(batch, 1, n, generator=g),
        parameters=torch.randn(batch, 2, generator=g),
        points=torch.rand(batch, n, 2, generator=g),
        weights=torch.rand(batch, n, generator=g) + 0.1,
    )


def moved(inputs: Inputs, rows: Tensor) -> Inputs:
    """Points of all samples in another order, or some of them more than once."""
    return inputs._replace(
        fields=inputs.fields[..., rows],
        points=inputs.need("points")[:, rows],
        weights=inputs.need("weights")[:, rows],
    )


def test_published_sizes_have_the_published_number_of_parameters() -> None:
    """Elasticity: 972 points in the plane, no fields, one output; 713,665."""
    data = DataShape(0, 1, (972,), (False,), (1.0,), point_axes=2)
    sizes = dict(hidden_channels=128, n_layers=8, n_heads=8, n_slices=64)
    model = build_operator("transolver", data, sizes)
    assert sum(p.numel() for p in model.parameters()) == 713_665


def test_without_weights_it_is_the_published_layer() -> None:
    """Against the formulas, point by point and slice by slice, in float64."""
    torch.manual_seed(0)
    layer = PhysicsAttention(8, 2, 3).double()
    layer.temperature.data[:] = torch.tensor([0.5, 0.8]).view(2, 1, 1)
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        got = layer(x, None)[0]
        place = layer.to_place(x)[0].view(5, 2, 4)
        value = layer.to_value(x)[0].view(5, 2, 4)
        heads = []
        for h in range(2):
            scores = layer.to_slice(place[:, h]) / layer.temperature[h, 0, 0]
            share = scores.exp() / scores.exp().sum(1, keepdim=True)
            tokens = torch.stack([
                sum(share[n, g] * value[n, h] for n in range(5))
                / (share[:, g].sum() + 1e-5)
                for g in range(3)
            ])  # fmt: skip
            q, k, v = layer.to_q(tokens), layer.to_k(tokens), layer.to_v(tokens)
            scores = (q @ k.T / 4**0.5).exp()
            heads.append(share @ (scores / scores.sum(1, keepdim=True) @ v))
        expected = layer.out(torch.cat(heads, 1))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_points_in_another_order_give_the_same_answers_in_that_order() -> None:
    """Sums over points in another order: rounding of float32, below 1e-6."""
    model, inputs = built(cloud(200)), drawn(200)
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        u, v = model(inputs), model(moved(inputs, rows))
    assert (u[..., rows] - v).abs().max() < 1e-6 * u.abs().max().clamp(min=1)


def test_points_split_in_two_change_nothing_with_weights_and_much_without() -> None:
    """Half of the points twice, with half of their weights each."""
    inputs = drawn(100)
    rows = torch.cat([torch.arange(100), torch.arange(50)])
    halves = torch.ones(150)
    halves[:50] = halves[100:] = 0.5
    split = moved(inputs, rows)
    split = split._replace(weights=split.need("weights") * halves)
    changes = {}
    for weights in (True, False):
        model = built(cloud(100), weights=weights)
        with torch.no_grad():
            u, v = model(inputs), model(split)[..., :100]
        changes[weights] = float((u - v).norm() / u.norm())
    # only the order of sums changes with weights
    assert changes[True] < 1e-6
    assert changes[False] > 1e-3


def test_ragged_batches_equal_their_samples_alone() -> None:
    """Laid one after another; the products of matrices are cut otherwise: rounding."""
    model = built(cloud(50))
    counts = [30, 50, 11]
    alone = [drawn(n, 1, seed) for seed, n in enumerate(counts)]
    ragged = Inputs(
        torch.cat([each.fields for each in alone], 2),
        parameters=torch.cat([each.need("parameters") for each in alone]),
        points=torch.cat([each.need("points") for each in alone], 1),
        weights=torch.cat([each.need("weights") for each in alone], 1),
        sample=torch.arange(3).repeat_interleave(torch.tensor(counts)),
    )
    with torch.no_grad():
        u = model(ragged)
        parts = torch.cat([model(each) for each in alone], 2)
    assert u.shape == (1, 2, sum(counts))
    torch.testing.assert_close(u, parts, rtol=1e-5, atol=1e-5)


def test_weights_make_graded_grids_agree_with_even_ones() -> None:
    """The same function on 101 even points and on 101 graded ones, with their weights.

    The trapezoidal rule on steps up to h = 0.02 is off by a few h², 4e-4 each; equal
    weights by the grading.
    """
    even = torch.linspace(0, 1, 101)
    graded = even**2
    gaps = []
    for weights in (True, False):
        answers = []
        for x in (even, graded):
            w = torch.zeros(101)
            w[:-1] += x.diff() / 2
            w[1:] += x.diff() / 2
            inputs = Inputs(
                torch.sin(5 * x)[None, None],
                parameters=torch.zeros(1, 2),
                points=torch.stack([x, x], 1)[None],
                weights=w[None],
            )
            with torch.no_grad():
                answers.append(
                    built(cloud(101), weights=weights)(inputs)[0, :, [0, -1]]
                )
        gaps.append(float((answers[0] - answers[1]).norm() / answers[0].norm()))
    assert gaps[0] < 3e-3
    assert gaps[1] > 10 * gaps[0]


def test_the_bounding_box_is_that_of_the_training_points() -> None:
    """Scaled and shifted points give the same answers once the box is known."""
    model, inputs = built(cloud(60)), drawn(60)
    points = inputs.need("points")
    model.prepare({"points": points})
    with torch.no_grad():
        u = model(inputs)
        far = points * torch.tensor([12.0, 0.1]) + torch.tensor([3.0, -7.0])
        model.prepare({"points": far})
        v = model(inputs._replace(points=far))
    # float32 coordinates of size 7 hold 1e-6 of a length of 0.1
    torch.testing.assert_close(u, v, rtol=0, atol=1e-4)


def mesh(n: int, on: str = "node") -> MeshShape:
    made = Square().mesh(n)
    free = np.zeros(len(made.points), bool)
    return MeshShape(1, 1, on, made.points, made.cells, free, np.zeros((1, len(free))))


def test_fields_on_cells_come_to_the_nodes_as_means() -> None:
    """Of a constant the constant; of x at the centres x, at inner nodes by symmetry."""
    data = mesh(6, "cell")
    nodes = Nodes(data)
    centres = data.points[data.cells].mean(1)[:, 0]
    fields = torch.stack([torch.ones(len(centres)), torch.from_numpy(centres).float()])
    one, x = nodes.on_nodes(fields[None])[0]
    torch.testing.assert_close(one, torch.ones_like(one))
    inner = (np.abs(data.points - 0.5) < 0.49).all(1)
    np.testing.assert_allclose(x[inner], data.points[inner, 0], atol=1e-6)
    assert float(nodes.weights.sum()) == pytest.approx(1, abs=1e-6)


def test_on_another_mesh_it_is_the_same_operator() -> None:
    """On a finer mesh of the same domain the answers at shared nodes are close."""
    coarse, fine = mesh(16), mesh(32)
    model = built(coarse)
    answers = []
    for data, operator in ((coarse, model), (fine, model.on(fine))):
        x = torch.from_numpy(data.points).float()
        with torch.no_grad():
            u = operator(torch.sin(3 * x[:, 0] + x[:, 1])[None, None])[0, 0]
        answers.append(
            {tuple(p.round(6)): v for p, v in zip(data.points, u, strict=True)}
        )
    pairs = torch.tensor([[v, answers[1][p]] for p, v in answers[0].items()])
    gap = (pairs[:, 0] - pairs[:, 1]).norm() / pairs[:, 0].norm()
    # lumped masses integrate to O(h²): (1/16)² times second derivatives of order one
    assert gap < 1e-2
    with pytest.raises(OpkitInputError, match="other channels or axes"):
        model.on(mesh(4, "cell"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": None}, "needs points data"),
        ({"points": torch.zeros(3, 7, 2)}, r"points have shape \(3, 7, 2\)"),
        ({"points": torch.zeros(3, 20, 3)}, r"give points \(batch, \*space, 2\)"),
        ({"parameters": None}, "needs parameters data"),
    ],
)
def test_what_is_missing_is_said_in_one_line(change: dict, words: str) -> None:
    """Points of another number or axis, and no numbers."""
    with pytest.raises(OpkitInputError, match=words):
        built(cloud(20))(drawn(20)._replace(**change))


def test_options_that_cannot_be() -> None:
    """Heads share the features; the samples have to have points."""
    with pytest.raises(OpkitInputError, match="not a multiple of n_heads 4"):
        build_operator("transolver", cloud(9), dict(hidden_channels=10))
    with pytest.raises(OpkitInputError, match="hold none"):
        built(cloud(9)).prepare({})
