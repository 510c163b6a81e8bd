"""Manufactured problems: consistent, well-posed, and of the classes asked for."""

import pytest
import torch
from pydantic import ValidationError

from opkit.errors import NonFiniteError, OpkitInputError
from opkit.pde import jets
from opkit.pde.classes import CLASSES, check_conditions, classify
from opkit.pde.geometry import put_disk, put_polygon, square
from opkit.solvers.manufactured.draws import Draw
from opkit.solvers.manufactured.holes import draw_holes
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.solvers.manufactured.operators import draw_conditions, draw_operators
from opkit.solvers.manufactured.problems import draw_problems

DOUBLE = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(count=24, labelled=True, seed=0, resolution=(32, 32), **options):
    return draw_problems(
        count,
        ManufacturedDistribution(**options),
        resolution,
        (200, 150),
        generator(seed),
        labelled=labelled,
        dtype=DOUBLE,
    )


def test_the_source_is_the_operator_of_the_solution():
    p = draw()
    residual = jets.apply_operator(p.coefficients, p.solution) - p.source
    assert residual.abs().max() <= 1e-9 * p.source.abs().max()


def test_labels_are_bounded_and_not_flat():
    p = draw(64)
    assert len(p) == 64
    assert bool(p.labelled.all())
    assert p.solution[0].abs().max() <= 10
    assert p.solution[0].std(1).min() >= 0.1
    assert p.solution.abs().max() <= 1e4
    assert p.grids[:, 3].abs().max() <= 100


def test_dirichlet_grid_values_agree_with_boundary_points():
    # A pixel line on the side x = -1 carries u at its own place: compare with points.
    smooth = {"min_steps": 2, "max_steps": 3, "frequency": 2.0}
    p = draw(48, elliptic=0, hyperbolic=0, neumann=0, **smooth)
    y = torch.linspace(-1, 1, 32, dtype=DOUBLE)
    for row in range(len(p)):
        assert bool((p.grids[row, 0, :, 0] == 1).all())
        on_left = p.boundary_points[row, :, 0] == -1
        sides = p.boundary_points[row, on_left, 1]
        values = p.dirichlet_values[row, on_left]
        grid = p.grids[row, 2, :, 0]
        cell = ((sides + 1) / 2 * 31).floor().long().clamp_max(30)
        share = (sides - y[cell]) / (y[1] - y[0])
        line = (1 - share) * grid[cell] + share * grid[cell + 1]
        # Linear interpolation: h² / 8 max |u_yy|, h = 2/31, and 4 for what points miss.
        bend = max(float(p.solution[4, row].abs().max()), 1.0)
        assert (line - values).abs().max() < (2 / 31) ** 2 / 2 * bend


def test_values_vanish_off_their_masks():
    p = draw(32)
    assert bool((p.grids[:, 2:4][p.grids[:, :2] == 0] == 0).all())
    assert bool((p.dirichlet_values[p.dirichlet == 0] == 0).all())
    assert bool((p.neumann_values[p.neumann == 0] == 0).all())


def test_drawn_operators_and_conditions_are_well_posed():
    g = Draw(generator(5), DOUBLE)
    kinds = torch.arange(300) % 3
    geometry = draw_holes(kinds, 3, g)
    draw_conditions(geometry, kinds, 0.4, g)
    c = draw_operators(kinds, geometry, 0.6, g)
    for row in range(300):
        assert classify(c[row].tolist()) == CLASSES[kinds[row]]
        check_conditions(c[row].tolist(), geometry.select(slice(row, row + 1)))
    bad_sign = c[:, 0] * c[:, 3].sign() > 0
    with_flux = (kinds == 0) & geometry.neumann.any(1)
    assert not bool((bad_sign & with_flux).any())  # coercive where Neumann
    assert bool((bad_sign & (kinds == 0)).any())  # yet Helmholtz-like ones occur
    assert c.abs()[c != 0].min() >= 0.02


def test_helmholtz_terms_stay_below_the_first_eigenvalue():
    kinds = torch.zeros(2000, dtype=torch.long)
    geometry = square(2000, 0, torch.zeros((), dtype=DOUBLE))
    geometry.dirichlet[:] = True
    c = draw_operators(kinds, geometry, 0.9, Draw(generator(1), DOUBLE))
    # -a u_xx - b u_yy on (-1, 1)² has first Dirichlet eigenvalue (a + b) π² / 4; with
    # first-order terms the substitution u = exp(...) v adds c_x²/4a + c_y²/4b.
    a, b = c[:, 3].abs(), c[:, 4].abs()
    first = (a + b) * torch.pi**2 / 4 + c[:, 1] ** 2 / 4 / a + c[:, 2] ** 2 / 4 / b
    assert bool((c[:, 0] * c[:, 3].sign() < 0.81 * first).all())


def test_unlabelled_problems_carry_no_solution_and_fit_their_class():
    p = draw(48, labelled=False)
    assert not bool(p.labelled.any())
    assert bool((p.solution == 0).all())
    assert bool((p.source == p.source[:, :1]).all())
    assert p.grids[:, 2].abs().max() <= 10 + 1e-9


def test_class_shares_are_those_asked_for():
    p = draw(60, elliptic=1, parabolic=0, hyperbolic=0)
    assert bool((p.coefficients[:, 3] * p.coefficients[:, 4] > 0).all())
    p = draw(60, elliptic=0, parabolic=1, hyperbolic=0)
    assert bool((p.coefficients[:, 4] == 0).all())
    p = draw(60, elliptic=0, parabolic=0, hyperbolic=1)
    assert bool((p.coefficients[:, 3] * p.coefficients[:, 4] < 0).all())
    assert bool((p.neumann.sum(1) > 0).all())  # initial velocity


def test_the_same_generator_state_gives_the_same_problems():
    first, second, other = draw(8), draw(8), draw(8, seed=1)
    assert torch.equal(first.grids, second.grids)
    assert not torch.equal(first.grids, other.grids)


def test_the_square_with_a_disk_and_a_triangle():
    geometry = square(1, 2, torch.zeros((), dtype=DOUBLE))
    put_disk(geometry, 0, 0, torch.tensor([0.5, 0.5], dtype=DOUBLE), 0.25)
    corners = torch.tensor([[-0.5, -0.5], [0.1, -0.5], [-0.5, 0.1]], dtype=DOUBLE)
    put_polygon(geometry, 0, 1, corners.flip(0))  # clockwise input is turned round
    geometry.dirichlet[:] = True
    n = 801
    axis = torch.linspace(-1, 1, n, dtype=DOUBLE)
    mesh = torch.cartesian_prod(axis, axis)[None]
    area = 4 * geometry.inside(mesh).double().mean()
    # Counting pixels errs by about perimeter times pixel size, 4.4 * 0.0025.
    assert abs(float(area) - (4 - torch.pi / 16 - 0.18)) < 0.011
    points, normals, piece, on_u, _ = geometry.sample(4000, generator())
    assert bool(on_u.all())
    assert bool(geometry.inside(points - 1e-4 * normals).all())
    outside = points + 1e-4 * normals
    left = geometry.inside(outside) & (outside.abs().amax(-1) <= 1)
    assert not bool(left.any())
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(1, 4000, dtype=DOUBLE))
    # By length: of 8 + π/2 + 0.6 (2 + √2) the circle has its share, ± 4 deviations.
    share = torch.pi / 2 / (8 + torch.pi / 2 + 0.6 * (2 + 2**0.5))
    round_share = (geometry.radius[0, piece[0]] > 0).double().mean()
    assert abs(float(round_share) - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_nearest_boundary_points():
    geometry = square(1, 1, torch.zeros((), dtype=DOUBLE))
    put_disk(geometry, 0, 0, torch.tensor([0.0, 0.0], dtype=DOUBLE), 0.5)
    points = torch.tensor([[[0.6, 0.0], [0.0, 0.95], [-0.9, 0.3]]], dtype=DOUBLE)
    allowed = torch.ones_like(geometry.present)
    distance, foot, normal, piece = geometry.nearest(points, allowed)
    expected = torch.tensor([[0.1, 0.05, 0.1]], dtype=DOUBLE)
    torch.testing.assert_close(distance, expected)
    feet = torch.tensor([[[0.5, 0.0], [0.0, 1.0], [-1.0, 0.3]]], dtype=DOUBLE)
    torch.testing.assert_close(foot, feet)
    out = torch.tensor([[[-1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]], dtype=DOUBLE)
    torch.testing.assert_close(normal, out)
    assert piece[0, 1:].tolist() == [3, 0]


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ([1, 1, 1, 0, 0], "no second-order term"),
        ([0, 0, 1, 1, 0], "backwards"),
        ([0, 1, 0, 0, -1], "x is time"),
        ([1, 0, 0, 1, 0], "ordinary differential"),
        ([0, 0, float("nan"), 1, 1], "not finite"),
    ],
)
def test_operators_without_a_well_posed_problem_are_refused(coefficients, message):
    with pytest.raises(OpkitInputError, match=message):
        classify(coefficients)


@pytest.mark.parametrize(
    ("coefficients", "dirichlet", "neumann", "message"),
    [
        ([0, 0, 0, 1, 1], [], [], "no boundary condition at all"),
        ([0, 0, 0, 1, 1], [0, 1, 2], [], "top has no condition"),
        ([0, 0, 0, 1, 1], [0, 1, 2, 3], [1], "right has both"),
        ([0, 0, 0, 1, 1], [], [0, 1, 2, 3], "up to a constant"),
        ([0, 0, 1, -1, 0], [0, 1, 2, 3], [], "final time"),
        ([0, 0, 1, -1, 0], [0, 1], [2], "initial time"),
        ([0, 0, 0, -1, 1], [0, 1, 2], [], "u and u_n"),
    ],
)
def test_ill_posed_mixes_are_refused(coefficients, dirichlet, neumann, message):
    geometry = square(1, 0, torch.zeros((), dtype=DOUBLE))
    geometry.dirichlet[0, dirichlet] = True
    geometry.neumann[0, neumann] = True
    with pytest.raises(OpkitInputError, match=message):
        check_conditions(coefficients, geometry)


def test_bad_distributions_are_refused():
    with pytest.raises(ValidationError, match="exchange"):
        ManufacturedDistribution(min_steps=5, max_steps=4)
    with pytest.raises(ValidationError, match="every class"):
        ManufacturedDistribution(elliptic=0, parabolic=0, hyperbolic=0)
    flat = {"min_steps": 1, "max_steps": 1, "frequency": 1e-6}
    with pytest.raises(NonFiniteError, match="nearly every function"):
        draw(4, **flat)
