"""Kernel integrals on points: a known kernel, and what weights and neighbours do."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.gno.gino import GINO
from opkit.operators.gno.gno import GNO
from opkit.operators.gno.multipole import Level
from opkit.operators.inputs import Inputs
from opkit.operators.interface import AnswersAnywhere, build_operator
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.fem.domains import Square

NAMES = ("gno", "multipole-gno", "lno", "gino")
SMALL = {
    "gno": dict(hidden_channels=8, n_layers=2, kernel_width=8, radius=0.3),
    "multipole-gno": dict(
        hidden_channels=8, n_layers=2, kernel_width=8, radius=0.3, cells=(5, 2), reach=2
    ),
    "lno": dict(hidden_channels=8, n_layers=2, kernel_width=8),
    "gino": dict(hidden_channels=8, n_layers=2, kernel_width=8, latent_shape=(9, 9)),
}


def cloud(n: int, numbers: int = 2) -> DataShape:
    return DataShape(1, 2, (n,), (False,), (1.0,), parameters=numbers, point_axes=2)


def built(name: str, data: DataShape | MeshShape, **more: object) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_operator(name, data, SMALL[name] | more).eval()
    if data.point_axes:
        model.prepare({"points": torch.tensor([[0.0, 0.0], [1.0, 1.0]])})
    return model


def drawn(n: int, batch: int = 3, seed: int = 1) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    return Inputs(
        torch.randn(batch, 1, n, generator=g),
        parameters=torch.randn(batch, 2, generator=g),
        points=torch.rand(batch, n, 2, generator=g),
        weights=torch.rand(batch, n, generator=g) + 0.1,
    )


def chosen(inputs: Inputs, rows: Tensor) -> Inputs:
    """Points of all samples in another order, or some of them more than once."""
    return inputs._replace(
        fields=inputs.fields[..., rows],
        points=inputs.need("points")[:, rows],
        weights=inputs.need("weights")[:, rows],
    )


def waves(x: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sources f = Σ a_k sin πkx and the solutions of -u'' = f, (count, 1, point)."""
    k = torch.arange(1, 17, dtype=torch.float64)[:, None]
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(count, 16, generator=g, dtype=torch.float64)
    sines = torch.sin(torch.pi * k * x)
    f, u = a @ sines, a @ (sines / (torch.pi * k) ** 2)
    return f[:, None].float(), u[:, None].float()


def learn(model: torch.nn.Module, steps: int) -> Tensor:
    """Learn the solutions of 50 sources on 33 points; returns what u is divided by."""
    f, u = waves(torch.linspace(0, 1, 33, dtype=torch.float64), 50, 0)
    size = u.std()
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        (model(f) - u / size).square().mean().backward()
        optimiser.step()
        schedule.step()
    return size


def test_a_linear_layer_learns_greens_function() -> None:
    """Of -u'' on (0, 1): min(x, y) (1 - max(x, y)), from 50 sources on 33 points.

    After so few steps it is known to two per cent; the answer on 129 points, which it
    never saw, is as good as on the trained ones, since it is the same kernel.
    """
    torch.manual_seed(0)
    data = DataShape(1, 1, (33,), (False,), (1.0,))
    options = dict(linear=True, n_layers=1, radius=None, hidden_channels=1)
    model = build_operator("gno", data, options)
    assert isinstance(model, GNO)
    size = learn(model, 400)
    errors = []
    for n in (33, 129):
        f, u = waves(torch.linspace(0, 1, n, dtype=torch.float64), 20, 1)
        with torch.no_grad():
            errors.append(float((model(f) * size - u).norm() / u.norm()))
    x, y = torch.rand(2, 2000, 1, generator=torch.Generator().manual_seed(2))
    true = torch.minimum(x, y) * (1 - torch.maximum(x, y))
    with torch.no_grad():
        learnt = model.green(x, y)[:, 0] * size
    assert (learnt - true).norm() < 0.04 * true.norm()
    assert errors[0] < 0.04
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def error_of_linear(name: str, **options: object) -> float:
    """Of solutions of -u'' = f, after 80 steps on 50 of them, on a finer line."""
    torch.manual_seed(0)
    data = DataShape(1, 1, (33,), (False,), (1.0,))
    sizes = dict(linear=True, n_layers=1, hidden_channels=4, kernel_width=16)
    model = build_operator(name, data, sizes | options)
    size = learn(model, 80)
    f, u = waves(torch.linspace(0, 1, 65, dtype=torch.float64), 20, 1)
    with torch.no_grad():
        return float((model(f) * size - u).norm() / u.norm())


def test_coarser_levels_carry_what_is_far() -> None:
    """Green's function of -u'' reaches over the line; a radius of 0.1 does not."""
    near = error_of_linear("gno", radius=0.1)
    far = error_of_linear("multipole-gno", radius=0.1, cells=(8, 2), reach=2)
    assert near > 0.8
    assert far < 0.2


def test_levels_are_centres_of_mass() -> None:
    model = built("multipole-gno", cloud(200))
    inputs = drawn(200)
    batch = model.batch(inputs)
    fine = Level(batch.unit, batch.places, batch.weights, batch.counts)
    coarse = fine.coarser(model.frame, 4)
    assert coarse.counts == [16, 16, 16]  # of 200 points no cell is empty
    for k, (one, all_points) in enumerate(
        zip(coarse.unit.split(16), inputs.need("points"), strict=True)
    ):
        weights = inputs.need("weights")[k]
        mass = coarse.weights.split(16)[k]
        # mass and its first moment are those of the fine points, to float32
        torch.testing.assert_close(mass.sum(), fine.weights.split(200)[k].sum())
        torch.testing.assert_close(
            (mass[:, None] * one).sum(0) / mass.sum(),
            (weights[:, None] * all_points).sum(0) / weights.sum(),
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip
        cells = (one * 4).floor()
        assert len(torch.unique(cells, dim=0)) == 16


@pytest.mark.parametrize(
    "options", [dict(cells=(4, 16)), dict(cells=(4, 4)), dict(cells=(4, 0))]
)
def test_levels_that_do_not_get_coarser(options: dict) -> None:
    with pytest.raises(OpkitInputError, match=r"fall from level to level"):
        built("multipole-gno", cloud(20), **options)


@pytest.mark.parametrize("name", ["gno", "multipole-gno", "lno"])
def test_linear_operators_are_linear_whatever_the_numbers(name: str) -> None:
    """A(2f + 3g) = 2 A f + 3 A g to rounding; the numbers of a sample change A."""
    model, one, two = built(name, cloud(40), linear=True), drawn(40), drawn(40, seed=2)
    both = one._replace(fields=2 * one.fields + 3 * two.fields)
    with torch.no_grad():
        u, v, w = (model(one._replace(fields=i.fields)) for i in (one, two, both))
        other = model(one._replace(parameters=one.need("parameters") + 1))
    torch.testing.assert_close(w, 2 * u + 3 * v, rtol=1e-4, atol=1e-4 * float(w.max()))
    assert (other - u).norm() > 1e-3 * u.norm()


@pytest.mark.parametrize("name", NAMES)
def test_order_and_splitting_of_points_change_nothing_but_rounding(name: str) -> None:
    """Another order by 1e-6; half of the points twice, with half of their weights."""
    model, inputs = built(name, cloud(100)).double(), drawn(100).each(Tensor.double)
    rows = torch.randperm(100, generator=torch.Generator().manual_seed(2))
    twice = torch.cat([torch.arange(100), torch.arange(50)])
    halves = torch.ones(150, dtype=torch.float64)
    halves[:50] = halves[100:] = 0.5
    split = chosen(inputs, twice)
    split = split._replace(weights=split.need("weights") * halves)
    with torch.no_grad():
        u, v, w = model(inputs), model(chosen(inputs, rows)), model(split)
    size = u.norm()
    assert (u[..., rows] - v).norm() < 1e-6 * size
    assert (u - w[..., :100]).norm() < 1e-6 * size


@pytest.mark.parametrize("name", ["gno", "multipole-gno", "lno"])
def test_without_weights_splitting_shifts_the_answer(name: str) -> None:
    """The published sums count points."""
    model, inputs = built(name, cloud(100), weights=False), drawn(100)
    split = chosen(inputs, torch.cat([torch.arange(100), torch.arange(50)]))
    with torch.no_grad():
        u, v = model(inputs), model(split)[..., :100]
    assert (u - v).norm() > 1e-3 * u.norm()


@pytest.mark.parametrize("name", NAMES)
def test_ragged_batches_equal_their_samples_alone(name: str) -> None:
    """Laid one after another; sums are cut otherwise: rounding."""
    model, counts = built(name, cloud(50)), [60, 90, 50]
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
    torch.testing.assert_close(u, parts, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_no_samples_have_no_answers(name: str) -> None:
    """On points of each sample."""
    model, inputs = built(name, cloud(9)), drawn(9).rows(slice(0, 0))
    assert model(inputs).shape == (0, 2, 9)
    if isinstance(model, GINO):
        assert model.at(inputs, torch.rand(4, 2)).shape == (0, 2, 4)


@pytest.mark.parametrize("name", NAMES)
def test_on_another_mesh_it_is_the_same_operator(name: str) -> None:
    """On a finer mesh of the same domain the answers at shared nodes are close."""
    answers, model = [], None
    for n in (16, 32):
        made = Square().mesh(n)
        free = np.zeros(len(made.points), bool)
        zeros = np.zeros((1, len(free)))
        data = MeshShape(1, 1, "node", made.points, made.cells, free, zeros)
        model = built(name, data) if model is None else model.on(data)
        x = torch.from_numpy(data.points).float()
        with torch.no_grad():
            u = model(torch.sin(3 * x[:, 0] + x[:, 1])[None, None])[0, 0]
        places = (tuple(p) for p in data.points.round(6))
        answers.append(dict(zip(places, u.tolist(), strict=True)))
    pairs = torch.tensor([[v, answers[1][p]] for p, v in answers[0].items()])
    gap = (pairs[:, 0] - pairs[:, 1]).norm() / (pairs[:, 0] - pairs.mean()).norm()
    # five steps in a radius; lumped masses integrate to O(h²)
    assert gap < 0.1


def test_gino_answers_anywhere_with_slopes() -> None:
    """At its nodes the same as a call; its gradient agrees with differences."""
    model, inputs = built("gino", cloud(60)).double(), drawn(60, 1).each(Tensor.double)
    assert isinstance(model, AnswersAnywhere)
    points = inputs.need("points")[0]
    with torch.no_grad():
        torch.testing.assert_close(model.at(inputs, points), model(inputs))
    at = torch.tensor([[0.31, 0.62]], dtype=torch.float64, requires_grad=True)
    model.at(inputs, at)[0, 0, 0].backward()
    step = torch.tensor([[1e-5, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        ends = [model.at(inputs, at + sign * step)[0, 0, 0] for sign in (1, -1)]
    # second differences: 1e-10 of third derivatives below 1e4
    assert float(at.grad[0, 0]) == pytest.approx(
        float(ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-5
    )


def test_neighbours_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call on the same points finds the pairs of the first."""
    model, inputs = built("gno", cloud(30)), drawn(30, 2)
    with torch.no_grad():
        u = model(inputs)
        monkeypatch.setattr(
            "opkit.operators.gno.neighbours.cKDTree",
            lambda points: pytest.fail("searched again"),
        )
        assert torch.equal(model(inputs), u)


def test_a_radius_that_catches_everything_says_what_it_takes() -> None:
    """Before the pairs are made: 4e8 of them would not fit, even without gradients."""
    inputs = Inputs(
        torch.zeros(1, 1, 20000),
        points=torch.rand(1, 20000, 2),
        parameters=torch.zeros(1, 2),
    )
    for radius in (2.0, None):
        with pytest.raises(
            OpkitInputError, match=r"catches 20000 neighbours .* GiB for a batch of 1"
        ) as caught:
            built("gno", cloud(20000), radius=radius)(inputs)
        assert "\n" not in str(caught.value)


def test_a_point_alone_is_named_and_the_remedy_works() -> None:
    """Its nearest neighbour lies beyond the radius."""
    inputs = drawn(200, 1)
    inputs.need("points")[0, 7] = torch.tensor([1.9, 1.9])
    with pytest.raises(
        OpkitInputError, match=r"point 7 .* set model.radius="
    ) as caught:
        built("gno", cloud(200))(inputs)
    radius = float(re.findall(r"model.radius=([\d.]+)", str(caught.value))[0])
    with torch.no_grad():
        assert built("gno", cloud(200), radius=radius)(inputs).isfinite().all()


def test_points_outside_the_latent_grid_are_named_and_the_remedy_works() -> None:
    """The grid covers the training points and a tenth around."""
    inputs = drawn(50, 2)
    inputs.need("points")[1, 7, 0] = 1.3
    with pytest.raises(OpkitInputError, match=r"point 7 .* axis 0 at 1.3") as caught:
        built("gino", cloud(50))(inputs)
    margin = float(re.findall(r"model.margin=([\d.]+)", str(caught.value))[0])
    with torch.no_grad():
        assert built("gino", cloud(50), margin=margin)(inputs).isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gino", dict(radius=0.01), "without any neighbour"),
        ("gino", dict(latent_shape=(9, 9, 9)), "latent_shape has 3 entries"),
        ("gino", dict(n_modes=(40, 4)), "n_modes"),
    ],
)
def test_latent_grids_that_cannot_be(name: str, options: dict, words: str) -> None:
    """Said when the operator is built."""
    with pytest.raises(OpkitInputError, match=words):
        build_operator(
            name,
            DataShape(1, 1, (9, 9), (False,) * 2, (1.0,) * 2),
            SMALL[name] | options,
        )


def test_what_has_no_single_kernel_or_no_source_is_refused() -> None:
    """Green's function of a layer that is not linear; linear in nothing."""
    model = built("gno", cloud(9))
    assert isinstance(model, GNO)
    with pytest.raises(OpkitInputError, match="has one kernel"):
        model.green(torch.zeros(1, 2), torch.zeros(1, 2))
    empty = DataShape(0, 1, (9,), (False,), (1.0,), parameters=1)
    with pytest.raises(OpkitInputError, match="needs input fields"):
        build_operator("gno", empty, dict(linear=True))
    for name in NAMES:
        with pytest.raises(OpkitInputError, match="hold none"):
            built(name, cloud(9)).prepare({})


def test_gino_takes_any_grid() -> None:
    """Periodic and not, of unequal lengths: finite, and of the grid's shape."""
    data = DataShape(1, 1, (12, 30), (True, False), (1.0, 3.0))
    model = build_operator("gino", data, SMALL["gino"])
    assert isinstance(model, GINO)
    u = model(torch.randn(2, 1, 12, 30))
    assert u.shape == (2, 1, 12, 30)
    assert u.isfinite().all()
