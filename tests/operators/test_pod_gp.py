"""Gaussian processes against closed forms, modes against an SVD, and the operator."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from opkit import elements
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator
from opkit.operators.pod_gp import answer, modes, process
from opkit.operators.pod_gp.descent import minimise
from opkit.operators.pod_gp.pod_gp import NORMAL, PODGP
from opkit.operators.pod_gp.windows import windows
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.fem.domains import Square

F64 = torch.float64


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def theta_of(length: list[float], signal: float, linear: float, noise: float):
    return torch.tensor([[*length, signal, linear, noise]], dtype=F64).log()


def closed_form(x, y, new, length, signal, linear, noise):
    """Rasmussen and Williams (2.23), (2.24), with loops and an explicit inverse."""

    def k(a, b):
        r = math.sqrt(sum(((a - b) / np.array(length)) ** 2))
        m = 1 + math.sqrt(5) * r + 5 / 3 * r * r
        return signal * m * math.exp(-math.sqrt(5) * r) + linear * (1 + a @ b)

    K = np.array([[k(a, b) for b in x] for a in x])
    inverse = np.linalg.inv(K + (noise + process.NOISE_FLOOR) * np.eye(len(x)))
    across = np.array([[k(a, b) for b in x] for a in new])
    own = np.array([k(a, a) for a in new]) + noise + process.NOISE_FLOOR
    log_p = -0.5 * y @ inverse @ y + 0.5 * np.linalg.slogdet(inverse)[1]
    log_p -= len(x) / 2 * math.log(2 * math.pi)
    mean = across @ inverse @ y
    return mean, own - np.einsum("bi,ij,bj->b", across, inverse, across), log_p


def test_regression_is_the_closed_form() -> None:
    """Mean, variance and marginal likelihood; 1e-9: an inverse of condition 1e4."""
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(12, 2)), rng.normal(size=12), rng.normal(size=(5, 2))
    numbers = dict(length=[0.7, 2.0], signal=1.3, linear=0.4, noise=1e-3)
    mean, variance, log_p = closed_form(x, y, new, **numbers)
    theta = theta_of(**numbers)
    X, Y, Z = (torch.tensor(a) for a in (x, y[None], new))
    alpha, left_out = process.weights(theta, X, Y)
    np.testing.assert_allclose(process.mean(theta, X, alpha, Z)[0], mean, rtol=1e-9)
    found = process.variance(theta, X, Z)[0]
    np.testing.assert_allclose(found, variance, rtol=1e-9)
    value, _ = process.loss(theta, Y, process.squares(X, X), X @ X.T)
    centre, precision = process._prior(theta)
    prior = (precision * (theta - centre).square()).sum() / 2
    assert float(value - prior) == pytest.approx(-log_p, rel=1e-9)
    for i in range(3):  # without sample i
        rest = np.arange(12) != i
        one = closed_form(x[rest], y[rest], x[i : i + 1], **numbers)
        assert float(left_out[0, i]) == pytest.approx(one[1][0], rel=1e-7)
        error = float(alpha[0, i] * left_out[0, i])
        assert error == pytest.approx(y[i] - one[0][0], rel=1e-7)


def test_slope_of_the_likelihood_is_its_difference_quotient() -> None:
    """Central differences of step 1e-5: error 1e-10, rounding 1e-9."""
    x, y = torch.randn(15, 3, dtype=F64), torch.randn(4, 15, dtype=F64)
    theta = torch.randn(4, 6, dtype=F64)
    pieces = y, process.squares(x, x), x @ x.T
    _, slope = process.loss(theta, *pieces)
    for j in range(6):
        step = torch.zeros(6, dtype=F64)
        step[j] = 1e-5
        up, down = (process.loss(theta + s, *pieces)[0] for s in (step, -step))
        torch.testing.assert_close(
            (up - down) / 2e-5, slope[:, j], rtol=1e-6, atol=1e-7
        )


def test_descent_finds_minima_of_many_problems() -> None:
    """Ill-conditioned quadratics and Rosenbrock's valley, in one batch each."""
    scale = torch.tensor([1.0, 30.0, 1000.0], dtype=F64)
    at = torch.randn(5, 3, dtype=F64)

    def quadratic(z, rows):
        off = z - at[rows]
        return (scale * off.square()).sum(1) / 2, scale * off

    z, value = minimise(quadratic, torch.zeros(5, 3, dtype=F64), 200, 1e-14)
    # two steps of gain 1e-14 end it: off by √1e-14 and some
    torch.testing.assert_close(z, at, rtol=0, atol=1e-5)
    assert (value < 1e-10).all()

    def valley(z, rows):
        a, b = z.T
        value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
        slope = torch.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)], 1)
        return value, slope

    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0], [0.0, 0.0]], dtype=F64)
    z, _ = minimise(valley, start, 300, 1e-14)
    torch.testing.assert_close(z, torch.ones(3, 2, dtype=F64), rtol=0, atol=1e-5)


def draws(n: int, count: int, noise: float = 1e-2):
    """Inputs, and samples of a prior at them: (n, 2), (count, n), θ."""
    x = torch.randn(n, 2, dtype=F64)
    theta = theta_of([1.5, 3.0], 1.0, 0.3, noise).expand(count, 5)
    K = process.kernel(theta[:1], x, x)[0]
    K += process.noise(theta[:1]) * torch.eye(n, dtype=F64)
    y = torch.randn(count, n, dtype=F64) @ torch.linalg.cholesky(K).T
    return x, y, theta


def test_intervals_cover_samples_of_the_prior() -> None:
    """With the true hyperparameters exactly, within three binomial deviations.

    One point of each of 400 independent draws: 3 √(0.95 · 0.05 / 400) is 3.3 %. With
    learnt ones 40 samples leave the variances uncertain: 5 % are granted.
    """
    x, y, theta = draws(41, 400)
    for known, slack in ((True, 0.033), (False, 0.05)):
        own = theta if known else process.fit(x[:40], y[:, :40])
        alpha, _ = process.weights(own, x[:40], y[:, :40])
        mean = process.mean(own, x[:40], alpha, x[40:])[:, 0]
        std = process.variance(own, x[:40], x[40:])[:, 0].sqrt()
        inside = ((y[:, 40] - mean).abs() <= NORMAL * std).double().mean()
        assert abs(float(inside) - 0.95) <= slack


def test_learning_finds_what_the_prior_was() -> None:
    """Short and long input keep their order, and noise its size within a factor 3."""
    x, y, _ = draws(120, 8, noise=3e-2)
    theta = process.fit(x, y)
    assert (theta[:, 0] < theta[:, 1]).all()
    assert ((theta[:, -1].exp() / 3e-2).log().abs() < math.log(3)).all()
    true = draws(1, 1, noise=3e-2)[2]
    pieces = y, process.squares(x, x), x @ x.T
    better = (
        process.loss(theta, *pieces)[0] < process.loss(true.expand(8, 5), *pieces)[0]
    )
    assert better.all()


def triangles(n: int = 7, fields: int = 0, on: str = "node") -> MeshShape:
    mesh = Square().mesh(n - 1)
    nodes = len(mesh.points)
    free, zeros = np.zeros(nodes, bool), np.zeros((2, nodes))
    return MeshShape(fields, 2, on, mesh.points, mesh.cells, free, zeros, parameters=3)


GRID = DataShape(0, 2, (9, 12), (False, True), (2.0, 3.0), (), 3)


@pytest.mark.parametrize("data", [GRID, triangles()], ids=["grid", "mesh"])
def test_modes_are_the_singular_vectors(data) -> None:
    """Against numpy's SVD of X L, M = L Lᵀ; orthonormal to 1e-10 in M."""
    points = math.prod(data.shape)
    u = torch.randn(10, 2, points, dtype=F64)
    u = u * torch.logspace(0, -5, 10, dtype=F64)[:, None, None]
    weigh = modes.inner_product(data)
    M = weigh(torch.eye(points, dtype=F64))
    whole = {False: 6.0, True: 1.0}[isinstance(data, MeshShape)]
    assert float(M.sum()) == pytest.approx(whole, rel=1e-12)  # area of the domain
    found = modes.principal_modes(u, weigh, 99, 1.0)
    flat = found.fields.flatten(1)
    gram = flat @ torch.block_diag(M, M) @ flat.T
    torch.testing.assert_close(gram, torch.eye(9, dtype=F64), rtol=0, atol=1e-10)
    L = np.linalg.cholesky(torch.block_diag(M, M).numpy())
    X = (u - u.mean(0)).flatten(1).numpy()
    _, s, V = np.linalg.svd(X @ L, full_matrices=False)
    # a Gram matrix knows its small eigenvalues to 1e-16 of the largest
    np.testing.assert_allclose(found.std, s[:9] / math.sqrt(10), rtol=1e-5)
    turned = np.abs(np.diag(V[:9] @ L.T @ flat.numpy().T))
    np.testing.assert_allclose(turned[:5], 1, atol=1e-8)
    half = modes.principal_modes(u, weigh, 99, 0.9)
    share = s[:9] ** 2 / (s[:9] ** 2).sum()
    assert len(half.std) == int((share.cumsum() < 0.9).sum()) + 1
    assert half.energy == pytest.approx(share.cumsum()[len(half.std) - 1])


def test_the_mass_matrix_is_that_of_the_elements() -> None:
    data = triangles()
    M = modes.inner_product(data)(torch.eye(49, dtype=F64))
    expected = elements.mass(data.points, data.cells).toarray()
    np.testing.assert_allclose(M, expected, rtol=1e-14, atol=1e-17)
    cells = modes.inner_product(data, on_cells=True)(torch.ones(72, dtype=F64))
    np.testing.assert_allclose(cells, 1 / 72, rtol=1e-12)


def family(data, n: int, curve: float = 1.0, seed: int = 1):
    """Numbers (n, 3) and outputs: fields times smooth functions of the numbers."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, generator=generator)
    fixed = torch.Generator().manual_seed(9)
    field = torch.randn(5, 2, *data.shape, generator=fixed, dtype=F64)
    z64 = z.double()
    parts = [torch.ones(n, dtype=F64), *z64.T, curve * (z64[:, 0] * z64[:, 1]).sin()]
    u = torch.tensordot(torch.stack(parts, 1), field, 1)
    return z, u.float()


def inputs_of(data, z) -> Inputs:
    points = data.input_points if isinstance(data, MeshShape) else None
    space = data.shape if points is None else (points,)
    return Inputs(torch.zeros(len(z), 0, *space), parameters=z)


def trained(data, n: int = 40, curve: float = 1.0, **options) -> PODGP:
    model = build_operator("pod-gp", data, options)
    z, u = family(data, n, curve)
    model.prepare({"outputs": u, "parameters": z})
    assert isinstance(model, PODGP)
    return model


def error(model, data, curve: float = 1.0) -> float:
    z, u = family(data, 50, curve, seed=2)
    return float((model(inputs_of(data, z)) - u).norm() / u.norm())


@pytest.mark.parametrize("data", [GRID, triangles()], ids=["grid", "mesh"])
def test_a_linear_family_is_reproduced(data) -> None:
    """Three modes, straight lines: to the rounding of float32 in the outputs."""
    model = trained(data, 20, curve=0.0)
    assert model.modes.shape[:2] == (1, 3)
    assert error(model, data, curve=0.0) < 1e-5
    assert float(model.energy) == pytest.approx(1)


def test_a_curved_family_is_learnt_and_its_intervals_hold() -> None:
    """More samples, smaller errors; 95 % within 3 % at points of 200 samples."""
    few, many = trained(GRID, 20), trained(GRID, 160)
    assert error(many, GRID) < 0.2 * error(few, GRID)
    z, u = family(GRID, 200, seed=3)
    std = many.deviation(inputs_of(GRID, z))
    off = (many(inputs_of(GRID, z)) - u).abs()
    assert float((off <= NORMAL * std).double().mean()) == pytest.approx(0.95, abs=0.03)
    # the deviation knows where errors are large
    ranks = [v.flatten(1).norm(dim=1).argsort().argsort().double() for v in (off, std)]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.4


@pytest.mark.parametrize("counts", [(), (2, 3)])
def test_gradients_are_difference_quotients(counts) -> None:
    """In float64, of the answer and of its deviation, by numbers."""
    model = trained(GRID, windows=counts)
    z = torch.randn(2, 3, dtype=F64)
    fields = torch.zeros(2, 0, *GRID.shape, dtype=F64)
    for call in (model, model.deviation):

        def total(numbers, call=call):
            return call(Inputs(fields, parameters=numbers)).square().sum((1, 2, 3))

        assert torch.autograd.gradcheck(total, z.clone().requires_grad_(), eps=1e-6)
    at = (
        model.x[0, :1] @ model.rotation[0].T
    ) * model.spread + model.centre  # at a training sample: r = 0
    at.requires_grad_()
    one = Inputs(fields[:1], parameters=at)
    assert torch.autograd.grad(model(one).sum(), at)[0].isfinite().all()


@pytest.mark.parametrize("counts", [(), (2, 3)])
def test_saved_and_loaded_it_answers_bit_for_bit(counts) -> None:
    model = trained(GRID, windows=counts)
    stored = load(save(model.state_dict()))
    other = build_operator("pod-gp", GRID, {"windows": counts})
    other.allocate({name: tuple(t.shape) for name, t in stored.items()})
    other.load_state_dict(stored, strict=True)
    given = inputs_of(GRID, torch.randn(3, 3))
    assert torch.equal(model(given), other(given))
    assert torch.equal(model.deviation(given), other.deviation(given))
    with pytest.raises(OpkitInputError, match="pod-gp: alpha or input_modes"):
        other.allocate({"x": (3, 3)})


def test_the_order_of_training_samples_does_not_matter() -> None:
    """To 1e-4 of an error of about 1 %: the search ends elsewhere by as little."""
    z, u = family(GRID, 40)
    order = torch.randperm(40)
    answers = []
    for rows in (slice(None), order):
        model = build_operator("pod-gp", GRID, {})
        model.prepare({"outputs": u[rows], "parameters": z[rows]})
        answers.append(model(inputs_of(GRID, torch.full((1, 3), 0.3))))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)


def test_samples_are_independent_and_of_any_float_type() -> None:
    model = trained(GRID)
    z = torch.randn(5, 3)
    together, alone = model(inputs_of(GRID, z)), model(inputs_of(GRID, z[2:3]))
    torch.testing.assert_close(together[2:3], alone, rtol=1e-6, atol=1e-6)
    assert together.dtype == torch.float32
    double = Inputs(torch.zeros(5, 0, *GRID.shape, dtype=F64), parameters=z.double())
    assert model(double).dtype == F64
    assert model(inputs_of(GRID, z[:0])).shape == (0, 2, 9, 12)
    assert not list(model.parameters())


def test_another_grid_gets_the_interpolated_answer() -> None:
    data = DataShape(0, 1, (9,), (False,), (1.0,), (), 3)
    line = torch.linspace(0, 1, 9)
    z = torch.randn(20, 3)
    u = z @ torch.stack([line, 1 - line, torch.ones(9)])
    model = build_operator("pod-gp", data, {})
    model.prepare({"outputs": u[:, None], "parameters": z})
    fine = model(Inputs(torch.zeros(20, 0, 17), parameters=z))[:, 0]
    exact = z @ torch.stack([(f := torch.linspace(0, 1, 17)), 1 - f, torch.ones(17)])
    # straight lines: interpolation is exact
    torch.testing.assert_close(fine, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", ["grid", "node", "cell"])
@pytest.mark.parametrize("numbers", [0, 3])
def test_input_fields_enter_by_their_modes(place: str, numbers: int) -> None:
    """A field of three modes stands for three numbers; others add to them.

    The mean of the outputs has an error of about 1, straight lines 0.3.
    """
    if place == "grid":
        data = replace(GRID, in_channels=1, parameters=numbers)
    else:
        data = replace(triangles(fields=1, on=place), parameters=numbers)
    points = data.input_points if isinstance(data, MeshShape) else GRID.shape
    space = (points,) if isinstance(points, int) else points
    fixed = torch.randn(3, 1, *space)
    model = build_operator("pod-gp", data, {"input_modes": 5})

    def samples(n: int, seed: int):
        z, u = family(data, n, 0.5, seed)
        roles = {"outputs": u, "inputs": 2 + torch.tensordot(z, fixed, 1)}
        if numbers:
            extra = torch.randn(n, 3)
            roles |= {"parameters": extra}
            roles["outputs"] = u + extra[:, :1].view(n, *(1,) * (u.ndim - 1))
        return roles

    model.prepare(samples(80, 1))
    assert len(model.input_modes) == 3
    test = samples(40, 2)
    answer = model(Inputs(test["inputs"], parameters=test.get("parameters")))
    off = (answer - test["outputs"]).norm() / test["outputs"].norm()
    assert float(off) < 0.1
    x = test["inputs"][:2].double().requires_grad_()
    given = Inputs(x, parameters=test["parameters"][:2] if numbers else None)
    slope = torch.autograd.grad(model(given).sum(), x)[0]
    assert slope.isfinite().all() and slope.abs().max() > 0


def test_duplicates_that_disagree_are_noise() -> None:
    """Same numbers, outputs off by 0.1: their mean, and that as its deviation."""
    data = DataShape(0, 1, (8,), (False,), (1.0,), (), 1)
    z = torch.linspace(-2, 2, 30)[:, None].repeat(2, 1)
    u = (z + 0.1 * torch.randn(60, 1))[:, None].expand(60, 1, 8)
    model = build_operator("pod-gp", data, {})
    model.prepare({"outputs": u.contiguous(), "parameters": z})
    given = Inputs(torch.zeros(1, 0, 8), parameters=torch.tensor([[0.5]]))
    # the mean of 60 values of deviation 0.1 is uncertain by 0.013 at least
    assert float(model(given).mean()) == pytest.approx(0.5, abs=0.05)
    assert 0.07 < float(model.deviation(given).mean()) < 0.14


def test_a_constant_number_and_a_constant_channel_do_no_harm() -> None:
    z, u = family(GRID, 30)
    z[:, 2] = 4.0
    u = u - u.mean(0)
    u[:, 1] = 7.0
    model = build_operator("pod-gp", GRID, {})
    model.prepare({"outputs": u, "parameters": z})
    answer = model(inputs_of(GRID, z))
    torch.testing.assert_close(answer[:, 1], u[:, 1], rtol=0, atol=1e-6)
    assert answer.isfinite().all()
    assert model.deviation(inputs_of(GRID, z))[:, 1].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("data", "counts"), [(GRID, (3, 4)), (triangles(), (2, 5))], ids=["grid", "mesh"]
)
def test_windows_cover_the_domain_and_sum_to_one(data, counts) -> None:
    """Hats of height 1 at evenly spaced centres, periodic where the axis is."""
    cover = windows(data, counts)
    points = math.prod(data.shape)
    assert len(cover.places) == math.prod(counts)
    total = torch.zeros(points, dtype=F64)
    total.index_add_(0, cover.places.flatten(), cover.weights.flatten())
    torch.testing.assert_close(total, torch.ones(points, dtype=F64))
    if data is GRID:  # around the periodic axis, four windows 3 points apart
        whole = torch.zeros(12, 9, 12, dtype=F64)
        for w in range(12):
            whole[w].view(-1).index_add_(0, cover.places[w], cover.weights[w])
        third = torch.tensor([1, 2 / 3, 1 / 3] + 7 * [0] + [1 / 3, 2 / 3], dtype=F64)
        torch.testing.assert_close(whole[0, 0], third)
        half = torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=F64)
        torch.testing.assert_close(whole[0, :5, 0], half)
        torch.testing.assert_close(whole[4, :5, 0], half.flip(0))


@pytest.mark.parametrize("data", [GRID, triangles()], ids=["grid", "mesh"])
def test_with_windows_a_linear_family_is_reproduced(data) -> None:
    """As without: each part is linear in the numbers."""
    model = trained(data, 20, curve=0.0, windows=(2, 4))
    assert error(model, data, curve=0.0) < 1e-5
    _, u = family(data, 5, curve=0.0, seed=4)
    torch.testing.assert_close(model.projected(u), u, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "counts"),
    [(GRID, ()), (GRID, (3, 4)), (triangles(), (3, 2))],
    ids=["whole", "grid", "mesh"],
)
def test_float32_changes_less_than_the_modes_leave_out(data, counts) -> None:
    """By a tenth of that (`PART`) at most; in float64 where they leave out nothing."""
    model = trained(data, 60, windows=counts, energy=0.8)
    z = torch.randn(7, 3)
    fields = torch.zeros(7, 0, *data.shape)
    exact = model(Inputs(fields.double(), parameters=z.double()))
    learnt, _ = model._fast()
    assert learnt.dtype == torch.float32
    outside = float(model.rest.sum(1).mean()) ** 0.5
    change = (model(Inputs(fields, parameters=z)) - exact).square()
    assert float(change.sum(1).mean()) ** 0.5 < answer.PART * outside
    # the slope is taken in float64: what is rounded is the answer alone
    slopes = []
    for kind in (torch.float32, F64):
        at = z.to(kind).requires_grad_()
        u = model(Inputs(fields.to(kind), parameters=at))
        slopes.append(torch.autograd.grad(u.square().sum(), at)[0].double())
    torch.testing.assert_close(
        *slopes, rtol=1e-4, atol=1e-4 * float(slopes[1].abs().max())
    )
    smooth = trained(data, 20, curve=0.0, windows=counts)
    assert smooth._fast()[0].dtype == F64


def test_derivatives_of_torch_func_leave_nothing_behind() -> None:
    """Of a surrogate just loaded, against autograd; then it answers as before."""
    model = trained(GRID, 60, windows=(2, 3), energy=0.8)
    other = build_operator("pod-gp", GRID, {"windows": (2, 3), "energy": 0.8})
    stored = model.state_dict()
    other.allocate({name: tuple(t.shape) for name, t in stored.items()})
    other.load_state_dict(stored)
    fields, z = torch.zeros(1, 0, *GRID.shape), torch.randn(1, 3)

    def total(numbers):
        return other(Inputs(fields, parameters=numbers)).square().sum()

    forward, reverse = torch.func.jacfwd(total)(z), torch.func.jacrev(total)(z)
    mapped = torch.func.vmap(lambda row: total(row[None]))(z.expand(3, -1))
    at = z.clone().requires_grad_()
    slope = torch.autograd.grad(total(at), at)[0]
    torch.testing.assert_close(reverse, slope)
    size = float(slope.abs().max())  # forward, in float32
    torch.testing.assert_close(forward, slope, rtol=1e-3, atol=1e-3 * size)
    torch.testing.assert_close(mapped, total(z).expand(3))
    assert torch.equal(other(inputs_of(GRID, z)), model(inputs_of(GRID, z)))


def test_windows_learn_what_depends_on_near_numbers_from_fewer_samples() -> None:
    """Eight numbers, each bends the field near its own place: errors to a third.

    Modes of the whole line mix eight numbers, those of a window two or three. Theory
    gives no factor; a half would be seen by anybody.
    """
    data = DataShape(0, 1, (64,), (True,), (1.0,), (), 8)
    x, centres = torch.linspace(0, 1, 65)[:-1], torch.arange(8) / 8
    off = ((x - centres[:, None] + 0.5) % 1 - 0.5).abs()

    def samples(n: int):
        z = torch.randn(n, 8)
        amplitude = (1.5 * z).sin() + 0.5 * (z * z.roll(1, 1)).tanh()
        return {"parameters": z, "outputs": (amplitude @ (-80 * off**2).exp())[:, None]}

    train, test = samples(80), samples(100)
    errors = []
    for options in ({}, {"windows": (8,)}):
        model = build_operator("pod-gp", data, options)
        model.prepare(train)
        given = Inputs(torch.zeros(100, 0, 64), parameters=test["parameters"])
        off_by = model(given) - test["outputs"]
        errors.append(float(off_by.norm() / test["outputs"].norm()))
        inside = (off_by.abs() <= NORMAL * model.deviation(given)).double().mean()
        # calibrated on 80 samples: 3 binomial deviations are 7 %
        assert float(inside) == pytest.approx(0.95, abs=0.07)
    assert errors[1] < 0.5 * errors[0]


def test_lengths_are_learnt_along_the_directions_that_matter() -> None:
    """sin(2 a·z) of six numbers varies along a alone, which is no axis."""
    data = DataShape(0, 1, (8,), (False,), (1.0,), (), 6)
    a = torch.tensor([1.0, -1, 1, 1, -1, 1]) / math.sqrt(6)
    z, test = torch.randn(60, 6), torch.randn(100, 6)

    def answer(numbers):
        return (2 * numbers @ a).sin()[:, None, None].expand(-1, 1, 8).contiguous()

    errors = []
    for rotate in (True, False):
        model = build_operator("pod-gp", data, {"rotate": rotate})
        model.prepare({"parameters": z, "outputs": answer(z)})
        off = model(Inputs(torch.zeros(100, 0, 8), parameters=test)) - answer(test)
        errors.append(float(off.norm() / answer(test).norm()))
        if rotate:
            first = model.rotation[0, :, 0] / model.spread
            cosine = first @ a.double() / first.norm()
            assert abs(float(cosine)) > 0.95  # each number alone: 1 / √6
        else:
            assert torch.equal(model.rotation[0], torch.eye(6, dtype=F64))
    assert errors[0] < 0.5 * errors[1]


def test_slopes_are_difference_quotients() -> None:
    """Central differences of step 1e-5: error 1e-10, rounding 1e-10."""
    x, y = torch.randn(12, 3, dtype=F64), torch.randn(4, 12, dtype=F64)
    theta = torch.randn(4, 6, dtype=F64) / 2
    alpha, _ = process.weights(theta, x, y)
    slopes = process.slopes(theta, x, alpha)
    for j in range(3):
        step = torch.zeros(3, dtype=F64)
        step[j] = 1e-5
        up, down = (process.mean(theta, x, alpha, x + s) for s in (step, -step))
        torch.testing.assert_close(
            (up - down) / 2e-5, slopes[..., j], rtol=1e-6, atol=1e-7
        )


def test_large_sets_are_thinned() -> None:
    model = trained(GRID, 90, samples=60, learning_samples=30)
    assert model.x.shape == (1, 60, 3)
    assert error(model, GRID) < 0.3


def test_what_cannot_be_learnt_from_is_refused() -> None:
    z, u = family(GRID, 20)
    model = build_operator("pod-gp", GRID, {})
    with pytest.raises(OpkitInputError, match="learnt nothing yet: call prepare"):
        model(inputs_of(GRID, z))
    with pytest.raises(
        OpkitInputError, match="8 training samples at least, there are 5"
    ):
        model.prepare({"outputs": u[:5], "parameters": z[:5]})
    with pytest.raises(OpkitInputError, match=r"outputs of all 20 .* are the same"):
        model.prepare({"outputs": u[:1].expand(20, -1, -1, -1), "parameters": z})
    with pytest.raises(OpkitInputError, match=r"inputs of all 20 .* are the same"):
        model.prepare({"outputs": u, "parameters": z[:1].expand(20, -1)})
    with pytest.raises(OpkitInputError, match="use mode map or space-time"):
        model.prepare({"outputs": u[:, None], "parameters": z})
    model.prepare({"outputs": u, "parameters": z})
    with pytest.raises(OpkitInputError, match="needs parameters data"):
        model(torch.zeros(1, 0, *GRID.shape))
    with pytest.raises(OpkitInputError, match="unknown key"):
        build_operator("pod-gp", GRID, {"mode": 3})
    for counts, message in (
        ((3,), "has 1 numbers, the data have 2 axes"),
        ((3, 13), "13 windows on an axis of 12 points"),
        ((0, 1), "greater than or equal to 1"),
    ):
        with pytest.raises(OpkitInputError, match=message):
            build_operator("pod-gp", GRID, {"windows": counts})
    curve = DataShape(1, 1, (8, 8), (False,) * 2, (1.0,) * 2, ("g",))
    with pytest.raises(OpkitInputError, match="boundary curves: use beno"):
        build_operator("pod-gp", curve, {})
