"""The judge of `opkit solve`: orders, eigenvalues, and estimates that hold."""

import itertools

import numpy as np
import pytest
from fixtures.manufactured import DISK, TRIANGLE, Waves, draw, state

from opkit.errors import NonFiniteError
from opkit.pde.problem import Disk, LinearProblem, Rectangle
from opkit.solvers.linear_pde.finite_elements import PlanarField, discretise
from opkit.solvers.linear_pde.reference import grid, inside_of, refer, solve_once
from opkit.solvers.linear_pde.spectrum import EigenvalueError, spectrum

WAVES = Waves([(1.0, 2.0, 1.0, 0.3), (0.5, -1.0, 2.5, 1.0)])
ALL = (0.5, 1.0, -0.7, 1.0, 2.0)  # u, u_x, u_y, u_xx, u_yy


def orders(problem, waves, counts):
    """Observed orders of u in the maximum norm, and its error on the finest."""
    x, y, inside = grid(problem)
    x, y = x[inside], y[inside]
    exact = waves(x, y)
    errors = [
        float(np.abs(solve_once(problem, n).values(x, y) - exact).max()) for n in counts
    ]
    halved = [np.log(a / b) for a, b in itertools.pairwise(errors)]
    return [h / np.log(counts[1] / counts[0]) for h in halved], errors[-1]


@pytest.mark.parametrize(
    ("neumann", "holes"),
    [
        ((), ()),
        (("right", "top"), ()),
        (("left", "right", "bottom", "top"), ()),
        ((), (DISK,)),
        (("hole 1", "left"), (DISK,)),  # c_3 ≠ c_4 on a circle: the oblique part
        (("top",), (TRIANGLE,)),
    ],
)
def test_elliptic_problems_are_of_third_order(neumann, holes):
    problem = state(ALL, WAVES, neumann, holes)
    order, error = orders(problem, WAVES, (16, 32, 64))
    assert error < 2e-5
    # Quadratic elements: h³, and in the maximum norm a little less or more.
    assert np.mean(order) > 2.6


@pytest.mark.parametrize("neumann", [(), ("right",), ("left", "right")])
@pytest.mark.parametrize(
    "coefficients",
    [
        (0.5, 1.0, 2.0, -0.7, 0.0),
        (-3.0, 0.0, -1.0, 0.2, 0.0),
        (0.5, 1.0, 0.3, -4.0, 1.0),
        (0.0, 0.0, 0.0, 1.0, -1.0),
    ],
)
def test_problems_in_time_are_of_fourth_order(coefficients, neumann):
    problem = state(coefficients, WAVES, neumann)
    order, error = orders(problem, WAVES, (16, 32, 64))
    assert error < 1e-6
    assert np.mean(order) > 3.8


def test_the_heat_equation_forgets_data_that_do_not_match():
    # u = 1 at first, 0 at the ends: the odd sines, of amplitude 4/(πn).
    problem = LinearProblem(
        equation="u_y - u_xx = 0", boundary="u = 0 on left, right; u = 1 on bottom"
    )
    x, y = np.array([0.0, 0.5, -0.9]), np.array([-0.5, 0.0, 0.9])
    exact = sum(
        4 / (np.pi * n) * np.sin(n * np.pi * (x + 1) / 2)
        * np.exp(-(n**2) * np.pi**2 / 4 * (y + 1))
        for n in range(1, 60, 2)
    )  # fmt: skip
    solution = refer(problem)
    np.testing.assert_allclose(solution.values(x, y), exact, atol=1e-5)
    assert np.all(np.abs(solution.values(x, y) - exact) < solution.error_at(x, y))


def test_a_standing_wave_and_a_travelling_one():
    standing = LinearProblem(
        equation="u_yy - 4*u_xx = 0",
        boundary="u = 0 on left, right; u = sin(pi*x) on bottom; u_y = 0 on bottom",
    )
    x, y, _ = grid(standing)
    exact = np.sin(np.pi * x) * np.cos(2 * np.pi * (y + 1))
    solution = refer(standing)
    assert np.abs(solution.values(x, y) - exact).max() < solution.error_estimate < 1e-4
    # d'Alembert: a bump that runs to the right, and has not reached the end yet.
    pulse = LinearProblem(
        equation="u_yy - u_xx/4 = 0",
        boundary=(
            "u = 0 on left, right; u = exp(-60*(x + 0.5)**2) on bottom;"
            "u_y = 60*(x + 0.5)*exp(-60*(x + 0.5)**2) on bottom"
        ),
    )
    exact = np.exp(-60 * (x + 0.5 - (y + 1) / 2) ** 2)
    within = x < 0.9  # at the right end the bump's tail is reflected
    early = within & (y < 0.5)
    solution = refer(pulse)
    off = np.abs(solution.values(x, y) - exact)[early].max()
    assert off < max(
        solution.error_estimate, 1e-6
    )  # the data at the ends are not quite 0


def test_derivatives_converge():
    problem = state(ALL, WAVES, ("right",), (DISK,))
    x, y, inside = grid(problem)
    x, y = x[inside], y[inside]
    exact = [WAVES(x, y, *o) for o in ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2))]
    errors = np.array(
        [
            [np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(jet, exact, strict=True)]
            for jet in (solve_once(problem, n).jet(x, y) for n in (16, 64))
        ]
    )
    gained = np.log(errors[0] / errors[1]) / np.log(4)
    assert np.all(gained > [2.6, 1.8, 1.8, 0.9, 0.9])  # third, second, first order


def test_eigenvalues_of_the_square_and_of_a_rectangle_of_sides():
    # -Δ with u = 0 on [-1, 1]²: (π²/4)(m² + n²).
    for c_0, near in ((4.9, 2), (100.0, 41), (0.0, 2), (-3.0, 2), (24.0, 10)):
        equation = f"u_xx + u_yy + {c_0}*u = 0"
        problem = LinearProblem(equation=equation, boundary="u = 0 on all")
        exact = c_0 - np.pi**2 / 4 * near
        discrete = discretise(problem, 32)
        values = spectrum(discrete.free_matrix, discrete.free_mass, discrete.factors)
        # Fourth order of eigenvalues: (λ/10)³ h⁴.
        assert abs(values.eigenvalue - exact) < 5e-5 + 1e-3 * max(c_0 / 30, 0) ** 3
        assert values.singular == pytest.approx(abs(exact), abs=0.05)
        size = max(abs(c_0), abs(exact - c_0))
        assert values.distance(c_0) == pytest.approx(abs(exact) / size, abs=5e-4)


def test_the_singular_value_of_an_operator_with_first_derivatives():
    # u_xx + u_yy + b u_x: λ = -π²/2 - b²/4; ‖L⁻¹‖ is larger than 1/|λ|.
    problem = LinearProblem(equation="u_xx + u_yy + 8*u_x = 0", boundary="u = 0 on all")
    discrete = discretise(problem, 12)
    values = spectrum(discrete.free_matrix, discrete.free_mass, discrete.factors)
    assert values.eigenvalue.real == pytest.approx(-(np.pi**2) / 2 - 16, rel=2e-3)
    lower = np.linalg.cholesky(discrete.free_mass.toarray())
    whole = np.linalg.solve(lower, discrete.free_matrix.toarray())
    whole = np.linalg.solve(lower, whole.T)
    least = np.linalg.svd(whole, compute_uv=False)[-1]
    assert values.singular == pytest.approx(least, rel=0.01)
    assert values.singular < 0.8 * abs(values.eigenvalue)


def test_next_to_an_eigenvalue_the_answer_is_right_and_the_distance_told():
    source = "(1+x)*(-2*(1-y**2) - 2*(1-x**2) + 4.9*(1-x**2)*(1-y**2)) - 4*x*(1-y**2)"
    problem = LinearProblem(
        equation="u_xx + u_yy + 4.9*u = f", boundary="u = 0 on all", source=source
    )
    solution = refer(problem)
    x, y, _ = grid(problem)
    exact = (1 + x) * (1 - x**2) * (1 - y**2)
    assert np.abs(solution.values(x, y) - exact).max() < solution.error_estimate < 3e-4
    assert solution.values([0.0], [0.0])[0] == pytest.approx(1, abs=1e-4)
    assert solution.eigenvalue_distance == pytest.approx(0.0348 / 4.9348, rel=0.01)


def test_short_waves_at_a_hundred_u():
    # u = sin(6x + 1) cos(8y), since 36 + 64 = 100.
    problem = LinearProblem(
        equation="u_xx + u_yy + 100*u = 0", boundary="u = sin(6*x+1)*cos(8*y) on all"
    )
    solution = refer(problem, largest=81)
    x, y, _ = grid(problem)
    off = np.abs(solution.values(x, y) - np.sin(6 * x + 1) * np.cos(8 * y)).max()
    assert off < solution.error_estimate < 3e-3
    assert solution.eigenvalue_distance < 0.012  # (2.467 · 41 - 100) / 101.2


@pytest.mark.parametrize("holes", [(), (Rectangle(lower=(0, 0), upper=(1, 1)),)])
def test_at_an_eigenvalue_there_is_no_answer(holes):
    # π²/2 for the square; the L-shape has 2π² in closed form: sin(πx) sin(πy).
    c_0 = np.pi**2 / 2 if not holes else 2 * np.pi**2
    problem = LinearProblem(
        equation=f"u_xx + u_yy + {c_0!r}*u = 1", boundary="u = 0 on all", holes=holes
    )
    with pytest.raises(EigenvalueError, match=r"no unique solution.*relative distance"):
        refer(problem, largest=54)


def test_constants_are_an_eigenfunction_of_fluxes():
    problem = LinearProblem(
        equation="u_xx + u_yy + 0.0001*u = 0", boundary="u_n = x on all"
    )
    solution = refer(problem, largest=36)
    assert solution.spectrum.eigenvalue == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(
    "holes",
    [
        [Rectangle(lower=(-0.55, -0.31), upper=(0.2, 0.4))],
        [Disk(centre=(0.0, 0.0), radius=0.3), Disk(centre=(0.3, 0.0), radius=0.3)],
        [Disk(centre=(1.0, 0.2), radius=0.4)],
        [Disk(centre=(-1.0, -1.0), radius=0.5)],
        [
            Disk(centre=(0.0, 0.0), radius=0.3),
            Rectangle(lower=(0, -0.1), upper=(1, 0.1)),
        ],
        [
            Rectangle(lower=(-0.5, -0.1), upper=(0.5, 0.1)),
            Rectangle(lower=(-0.1, -0.5), upper=(0.1, 0.5)),
        ],
        [Disk(centre=(0.0, 0.0), radius=0.3), Disk(centre=(0.601, 0.0), radius=0.3)],
    ],
)
def test_holes_of_every_kind_are_meshed(holes):
    problem = state(ALL, WAVES, (), holes)
    solution = refer(problem, largest=36)
    x, y, inside = grid(problem)
    x, y = x[inside], y[inside]
    assert (
        np.abs(solution.values(x, y) - WAVES(x, y)).max()
        < solution.error_estimate
        < 2e-3
    )
    # The mesh covers the domain: its area by counting 1001 x 1001 points, whose error
    # is a share of the perimeter's cells.
    axis = (np.arange(1001) + 0.5) * 2 / 1001 - 1
    px, py = (part.ravel() for part in np.meshgrid(axis, axis))
    area = 4 * inside_of(problem, px, py).mean()
    assert discretise(problem, 24).mass.sum() == pytest.approx(area, rel=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_estimates_hold(seed):
    check_estimate(seed, 36)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 58))
def test_fifty_more_estimates_hold(seed):
    check_estimate(seed, 54)


def check_estimate(seed, largest):
    rng = np.random.default_rng(seed)
    while True:
        problem, waves = draw(rng)
        try:
            solution = refer(problem, largest=largest)
        except EigenvalueError:
            continue
        if (solution.eigenvalue_distance or 1.0) > 0.05:
            break
    x, y, inside = grid(problem)
    x, y = x[inside], y[inside]
    off = np.abs(solution.values(x, y) - waves(x, y))
    assert off.max() <= 2 * solution.error_estimate
    assert np.sqrt(np.mean(off**2)) <= 2 * solution.error_rms
    assert solution.error_estimate < 0.05 * solution.largest  # and says something


def test_where_data_jump_the_estimate_is_large_and_elsewhere_small():
    problem = LinearProblem(
        equation="u_xx + u_yy = 0",
        boundary="u = 1 on top; u = 0 on left, right; u_n = 0 on bottom",
    )
    coarse, fine = refer(problem, 1e-9, largest=36), refer(problem, 1e-9, largest=81)
    x, y, _ = grid(problem)
    corner = (np.abs(np.abs(x) - 1) < 0.05) & (y > 0.95)
    off = np.abs(coarse.values(x, y) - fine.values(x, y))[~corner]
    assert off.max() <= coarse.error_estimate
    assert coarse.error_at([0.99], [0.99])[0] > 1e-2
    assert coarse.error_at([0.0], [0.0])[0] < 1e-3


def test_a_source_narrower_than_the_cells_is_noticed():
    narrow = LinearProblem(
        equation="u_xx + u_yy = f",
        boundary="u = 0 on all",
        source="exp(-40000*((x - 0.313)**2 + (y - 0.1)**2))",
    )
    solution = refer(narrow, largest=36)
    finer = refer(narrow, largest=81)
    x, y, _ = grid(narrow)
    assert (
        np.abs(solution.values(x, y) - finer.values(x, y)).max()
        <= solution.error_estimate
    )


def test_a_spike_of_boundary_data_is_noticed():
    problem = LinearProblem(
        equation="u_xx + u_yy = 0",
        boundary="u = exp(-100000*(x - 0.01)**2) on top; u = 0 on left, right, bottom",
    )
    assert refer(problem, largest=36).error_estimate > 0.5


def test_values_outside_are_not_numbers():
    problem = LinearProblem(
        equation="u_xx + u_yy = 1", boundary="u = 0 on all", holes=(DISK,)
    )
    solution = refer(problem, largest=36)
    x, y = [0.2, 1.2, 0.9], [-0.1, 0.0, 0.9]
    assert np.isnan(solution.values(x, y)).tolist() == [True, True, False]
    assert np.isnan(solution.jet(x, y)[:, :2]).all()
    assert np.isnan(solution.error_at(x, y)).tolist() == [True, True, False]


def test_points_on_curved_boundaries_are_found():
    disk = Disk(centre=(0.0, 0.0), radius=0.3)
    problem = LinearProblem(
        equation="u_xx + u_yy = 0", boundary="u = x on all", holes=(disk,)
    )
    field = solve_once(problem, 12)
    angle = np.linspace(0, 2 * np.pi, 1001)
    x, y = 0.3 * np.cos(angle), 0.3 * np.sin(angle)
    np.testing.assert_allclose(field.values(x, y), x, atol=1e-6)  # u = x is quadratic


@pytest.mark.parametrize(
    "options",
    [
        {"equation": "u_xx + u_yy = log(x)", "boundary": "u = 0 on all"},
        {"equation": "u_xx + u_yy = 0", "boundary": "u = 1/(x-x) on all"},
        {
            "equation": "u_y - u_xx = 0",
            "boundary": "u = sqrt(-1 - x*x) on bottom; u = 0 on left, right",
        },
    ],
)
def test_data_that_are_not_finite_are_refused(options):
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="not finite"):
        refer(LinearProblem(**options), largest=36)


@pytest.mark.fem
def test_another_code_on_the_same_mesh_finds_the_same():
    # FEniCSx, with its own assembly and solver; boundary and source are interpolated
    # there, so they are polynomials of degree two.
    stack = pytest.importorskip("opkit.solvers.fem.stack")
    problem = LinearProblem(
        equation="u_xx + 2*u_yy - u_x + 0.5*u_y + 3*u = f",
        boundary="u = x*y on sides; u = x**2 on hole 1",
        source="x*x - y",
        holes=(DISK,),
    )
    discrete = discretise(problem, 16)
    nodal, _ = discrete.solve()
    mesh = discrete.mesh
    fem, ufl = stack.fem, stack.ufl
    element = stack.basix_ufl.element("Lagrange", "triangle", 2, shape=(2,))
    domain = stack.mesh.create_mesh(
        stack.MPI.COMM_SELF, mesh.cells, element, mesh.points
    )
    space = fem.functionspace(domain, ("Lagrange", 2))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    x = ufl.SpatialCoordinate(domain)
    left = (3 * u - u.dx(0) + 0.5 * u.dx(1)) * v
    left = (left - u.dx(0) * v.dx(0) - 2 * u.dx(1) * v.dx(1)) * ufl.dx
    right = (x[0] ** 2 - x[1]) * v * ufl.dx
    domain.topology.create_connectivity(1, 2)
    conditions = []
    for on_disk in (False, True):
        facets = stack.mesh.locate_entities_boundary(
            domain, 1, lambda p, on=on_disk: (np.abs(p[:2]).max(0) < 1 - 1e-9) == on
        )
        value = fem.Function(space)
        value.interpolate(lambda p, on=on_disk: p[0] ** 2 if on else p[0] * p[1])
        conditions.append(
            fem.dirichletbc(value, fem.locate_dofs_topological(space, 1, facets))
        )
    matrix = stack.fem_petsc.assemble_matrix(fem.form(left), bcs=conditions)
    matrix.assemble()
    b = stack.fem_petsc.assemble_vector(fem.form(right))
    stack.fem_petsc.apply_lifting(b, [fem.form(left)], [conditions])
    stack.fem_petsc.set_bc(b, conditions)
    solver = stack.PETSc.KSP().create(stack.MPI.COMM_SELF)
    solver.setOperators(matrix)
    solver.setType("preonly")
    solver.getPC().setType("lu")
    function = fem.Function(space)
    solver.solve(b, function.x.petsc_vec)
    places = space.tabulate_dof_coordinates()[:, :2]
    ours = PlanarField(mesh, nodal).values(*places.T)
    # Curved cells: quadrature of rational functions, to 1e-6 of either code.
    np.testing.assert_allclose(ours, function.x.array, atol=2e-6)
