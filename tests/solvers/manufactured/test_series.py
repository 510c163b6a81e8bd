"""Manufactured series, unit size, corners and sources: exact, and as they say."""

import math

import pytest
import torch

from opkit.pde import jets
from opkit.pde.batch import UNIT
from opkit.pde.geometry import square
from opkit.pde.scale import data_size, normalise, operator_size
from opkit.solvers.manufactured.draws import Draw
from opkit.solvers.manufactured.holes import draw_holes
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.solvers.manufactured.operators import ELLIPTIC, draw_operators
from opkit.solvers.manufactured.problems import draw_problems
from opkit.solvers.manufactured.series import SHORTEST, WAVES, draw_series
from opkit.solvers.manufactured.sources import draw_gaussians

DOUBLE = torch.float64
COUNT = 90


def draw_of(seed=0):
    return Draw(torch.Generator().manual_seed(seed), DOUBLE)


@pytest.fixture(scope="module")
def drawn():
    draw = draw_of()
    kinds = torch.arange(COUNT) % 3
    coefficients = draw_operators(kinds, square(COUNT, 0, draw.like), 0.3, draw)
    return kinds, coefficients, draw_series(coefficients, 2.5, draw)


def problems(labelled=True, dtype=DOUBLE, count=40, **options):
    generator = torch.Generator().manual_seed(3)
    law = ManufacturedDistribution(min_steps=2, max_steps=4, frequency=2.5, **options)
    return draw_problems(count, law, (32, 32), (100, 100), generator, labelled, dtype)


def test_series_vanish_on_the_sides(drawn):
    kinds, _, series = drawn
    t = torch.linspace(-1, 1, 30, dtype=DOUBLE)
    one = torch.ones_like(t)
    for x, y, everywhere in (
        (-one, t, True),
        (one, t, True),
        (t, -one, False),
        (t, one, False),
    ):
        u = series.evaluate(torch.stack([x, y], -1).expand(COUNT, -1, 2))[0]
        rows = kinds >= 0 if everywhere else kinds == ELLIPTIC
        assert u[rows].abs().max() < 1e-12 * (1 + u.abs().max())


def test_jets_of_series_are_those_of_autograd(drawn):
    _, _, series = drawn
    points = draw_of(1).symmetric(COUNT, 12, 2).requires_grad_()
    jet = series.evaluate(points)
    u = jet[0]
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    bends = [
        torch.autograd.grad(slope[..., k].sum(), points, retain_graph=True)[0][..., k]
        for k in range(2)
    ]
    expected = torch.stack([u, slope[..., 0], slope[..., 1], *bends])
    torch.testing.assert_close(jet, expected, rtol=1e-9, atol=1e-9)


def test_series_in_time_solve_the_homogeneous_equation(drawn):
    kinds, c, series = drawn
    points = draw_of(2).symmetric(COUNT, 50, 2)
    jet = series.evaluate(points)
    left = jets.apply_operator(c, jet).abs().amax(1)
    size = (c.abs() * jet.abs().amax(2).T).amax(1)
    untouched = (c[:, 1] / (2 * c[:, 3])).abs() <= 1  # α is not cut off
    rows = (kinds != ELLIPTIC) & untouched
    assert int(rows.sum()) > 30
    assert bool((left[rows] <= 1e-10 * size[rows].clamp_min(1e-300)).all())


def test_elliptic_series_of_gaussians_have_a_source_that_is_concentrated():
    draw = draw_of(4)
    c = torch.tensor([[0.0, 0.0, 0.0, -1.0, -1.0]], dtype=DOUBLE).expand(100, -1)
    series = draw_series(c, 2.5, draw)
    points = draw.symmetric(100, 300, 2)
    f = jets.apply_operator(c, series.evaluate(points)).abs()
    peaked = f.amax(1) / f.square().mean(1).sqrt()
    # A constant has 1, a product of sines at most 2 in each direction together.
    assert float(peaked.nanquantile(0.75)) > 3.5
    assert float(peaked.nanquantile(0.05)) < 3


def test_the_other_elliptic_series_are_a_few_waves_long_and_short():
    count = 2000
    c = torch.tensor([[0.0, 0, 0, 1, 1]], dtype=DOUBLE).expand(count, 5)
    sines = draw_series(c, 2.5, draw_of(8)).sines
    present = (sines != 0).flatten(1).sum(1)
    few = present <= WAVES
    assert float(few.double().mean()) == pytest.approx(0.5, abs=0.05)  # 4 sigma
    rows, columns = sines[few].abs().sum((0, 2)), sines[few].abs().sum((0, 1))
    for each in (rows, columns):
        assert bool((each[: SHORTEST - 1] > 0).all())
        assert bool((each[SHORTEST:] == 0).all())
        assert float(each[0]) > float(each[1]) > float(each[7])


def test_gaussians_are_products_of_their_profiles():
    sums = draw_gaussians(3, draw_of())
    x = torch.linspace(-1, 1, 9, dtype=DOUBLE)
    in_x, in_y = (sums.profile(x, k) for k in range(2))
    mesh = torch.cartesian_prod(x, x).expand(3, -1, 2)
    expected = torch.einsum("bg,bgx,bgy->bxy", sums.height, in_x, in_y).flatten(1)
    torch.testing.assert_close(sums.evaluate(mesh), expected)


def test_unit_size_keeps_the_problem():
    options = {"series": 0.5, "corners": 0.3, "max_holes": 2}
    plain, unit = problems(**options), problems(**options, normalised=True)
    torch.testing.assert_close(
        operator_size(unit.coefficients), torch.full((40,), UNIT, dtype=DOUBLE)
    )
    assert bool((unit.coefficients[:, 3] > 0).all())
    left = jets.apply_operator(unit.coefficients, unit.solution) - unit.source
    assert left.abs().max() < 1e-9 * unit.source.abs().max()
    ratio = unit.solution / plain.solution
    per_problem = ratio.movedim(1, 0).flatten(1).nanmedian(1).values
    torch.testing.assert_close(
        unit.solution, plain.solution * per_problem[None, :, None]
    )
    torch.testing.assert_close(
        data_size(unit.coefficients, unit.grids, unit.inside),
        torch.ones(40, dtype=DOUBLE),
    )
    assert torch.equal(unit.grids[:, :2], plain.grids[:, :2])  # masks stay 0 and 1
    again = normalise(unit)
    torch.testing.assert_close(again.grids, unit.grids)


def test_the_size_of_poisson_with_a_constant_source():
    # -Δu = 1, u = 0: λ_mn are the eigenvalues, so the estimate is the rms of u,
    # u_mn = 16 / (π² m n) / (π²/4 (m² + n²)), m and n odd. Its tail beyond 15 is
    # O(15⁻⁵); the trapezoidal rule is second order in 15 h / 2.
    odd = torch.arange(1, 16, 2, dtype=DOUBLE)
    modes = 64 / math.pi**4 / (odd * odd[:, None]) / (odd**2 + odd[:, None] ** 2)
    grids = torch.zeros(1, 5, 129, 129, dtype=DOUBLE)
    grids[:, 4] = 1
    c = torch.tensor([[0.0, 0, 0, -1, -1]], dtype=DOUBLE)
    size = data_size(c, grids, torch.ones(1, 129, 129, dtype=torch.bool))
    assert float(size) == pytest.approx(float(modes.norm()) / 2, rel=1e-3)


@pytest.mark.parametrize("waves", [(1, 1), (2, 8), (5, 3)])
def test_the_size_of_short_waves_is_theirs(waves):
    # u = S_m(x) S_n(y) has rms 1/2, whatever m and n, and c_0 > 0 joins the size of L.
    m, n = waves
    k = math.pi / 2
    x = torch.linspace(-1, 1, 32, dtype=DOUBLE)
    u = torch.outer((n * k * (x + 1)).sin(), (m * k * (x + 1)).sin())
    grids = torch.zeros(1, 5, 32, 32, dtype=DOUBLE)
    grids[:, 4] = -(3 * m**2 + 2 * n**2) * k**2 * u
    c = torch.tensor([[0.0, 0, 0, 3, 2]], dtype=DOUBLE)
    size = data_size(c, grids, torch.ones(1, 32, 32, dtype=torch.bool))
    assert float(size) == pytest.approx(0.5, rel=1e-9)


def test_a_source_of_noise_is_not_taken_for_nothing():
    grids = torch.zeros(1, 5, 32, 32, dtype=DOUBLE)
    sign = 1 - 2 * (torch.arange(32) % 2)
    grids[0, 4] = torch.outer(sign, sign)
    c = torch.tensor([[0.0, 0, 0, 1, 1]], dtype=DOUBLE)
    size = data_size(c, grids, torch.ones(1, 32, 32, dtype=torch.bool))
    assert float(size) >= 1 / (2 * (16 * math.pi / 2) ** 2)
    assert float(data_size(c, 0 * grids, grids[:, 4] > 0)) == 1


def test_corners_are_cut_out_of_elliptic_domains_alone():
    draw = draw_of(6)
    kinds = torch.arange(300) % 3
    geometry = draw_holes(kinds, 2, draw, corners=1.0)
    axis = torch.linspace(-1, 1, 41, dtype=DOUBLE)
    mesh = torch.cartesian_prod(axis, axis).expand(300, -1, 2)
    inside = geometry.inside(mesh)
    assert bool(inside[kinds != ELLIPTIC].all())
    near = 0.95 * torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=DOUBLE)
    corners = geometry.inside(near.expand(300, -1, 2))
    assert bool(((~corners).sum(1) == 1)[kinds == ELLIPTIC].all())
    share = 1 - inside[kinds == ELLIPTIC].double().mean(1)
    # Rectangles of sides 0.4 to 1.3 out of a square of side 2, within a cell of 1/20.
    assert float(share.min()) > (0.4 - 0.1) ** 2 / 4
    again = draw_holes(kinds, 2, draw_of(6))
    assert bool(again.inside(near.expand(300, -1, 2)).all())


def test_data_of_unlabelled_problems_vanish_and_vary_as_asked():
    p = problems(False, count=400, zero=0.5, varied=0.5, neumann=0.0, max_holes=2)
    constant = (p.source == p.source[:, :1]).all(1)
    assert 0.4 < float(constant.double().mean()) < 0.9
    still = (p.dirichlet_values == 0).all(1)
    # Sides are 0 with probability 1/2 or more, holes too where there are any.
    assert 0.3 < float(still.double().mean()) < 0.8
    something = (p.source != 0).any(1) | (p.dirichlet_values != 0).any(1)
    assert bool(something.all())
    never = problems(False, count=50)
    assert bool((never.source == never.source[:, :1]).all())
