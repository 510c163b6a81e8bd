"""Learned preconditioners: any map, and the residual is reached all the same."""

import numpy as np
import pytest
import torch

import opkit
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.generate import generate
from opkit.solvers.darcy.five_point import assemble, sine_laplacian
from opkit.solvers.darcy.preconditioners import NAMES, preconditioner
from opkit.solvers.krylov import flexible_cg, scaled_guess
from opkit.surrogate.preconditioner import Learned, equations, solve
from opkit.surrogate.surrogate import Surrogate
from opkit.train import train

SIZE = 12
SETTINGS = (
    "model.n_modes=[8, 8]", "model.hidden_channels=12", "model.n_layers=2",
    "training.epochs=30", "training.learning_rate=1e-2", "training.loss=direction",
)  # fmt: skip


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
    return basis @ np.diag(np.geomspace(1, 1e4, SIZE)) @ basis.T


def test_cg_ends_after_as_many_steps_as_there_are_unknowns(matrix: np.ndarray) -> None:
    u = np.arange(1.0, SIZE + 1)
    b = matrix @ u
    solved = flexible_cg(
        matrix.__matmul__, b, np.copy, tolerance=1e-9, patience=None, restart=SIZE
    )
    assert solved.iterations <= SIZE + 1
    # |e| <= cond(A) |r| / |b| |u|, and cond(A) is 1e4
    assert np.linalg.norm(solved.solution - u) < 1e-5 * np.linalg.norm(u)
    assert solved.residuals[-1] <= 1e-9 and solved.handed_over is None
    one = flexible_cg(matrix.__matmul__, b, lambda r: np.linalg.solve(matrix, r))
    assert one.iterations <= 2  # the inverse itself; rounding may take a second step


def bad_maps() -> dict[str, object]:
    rng = np.random.default_rng(1)
    return {
        "noise": lambda r: rng.normal(size=r.shape),
        "always the same": lambda r: np.ones_like(r),
        "zero": np.zeros_like,
        "not finite": lambda r: r * np.nan,
        "orthogonal": lambda r: np.roll(r, 1) - np.roll(r, 1) @ r / (r @ r) * r,
        "backwards": lambda r: -r,
        "sign alone": np.sign,
    }


@pytest.mark.parametrize("name", bad_maps())
def test_a_bad_preconditioner_costs_time_not_accuracy(
    matrix: np.ndarray, name: str
) -> None:
    u = np.sin(np.arange(SIZE))
    b = matrix @ u
    solved = flexible_cg(
        matrix.__matmul__, b, bad_maps()[name], tolerance=1e-8, restart=3
    )
    true = np.linalg.norm(b - matrix @ solved.solution) / np.linalg.norm(b)
    assert true <= 1e-8 and solved.residuals[-1] == pytest.approx(true)


def test_the_energy_of_the_error_never_grows(matrix: np.ndarray) -> None:
    u, rng = np.ones(SIZE), np.random.default_rng(2)
    errors = []

    def spy(r: np.ndarray) -> np.ndarray:  # r = A e, so e·r is the energy
        errors.append(r @ np.linalg.solve(matrix, r))
        return r + 3 * rng.normal(size=SIZE)

    flexible_cg(matrix.__matmul__, matrix @ u, spy, tolerance=1e-6, patience=None)
    assert len(errors) > 3 and np.all(np.diff(errors) <= 1e-9 * errors[0])


@pytest.mark.parametrize("factor", [1.0, -2.0, 1e8, 0.0, np.nan])
def test_a_scaled_guess_is_never_worse_than_none(
    matrix: np.ndarray, factor: float
) -> None:
    u, rng = np.ones(SIZE), np.random.default_rng(3)
    b = matrix @ u
    guess = factor * (u + rng.normal(size=SIZE))
    energy = scaled_guess(matrix.__matmul__, b, guess)
    assert (energy - u) @ matrix @ (energy - u) <= u @ matrix @ u * (1 + 1e-12)
    residual = scaled_guess(matrix.__matmul__, b, guess, "residual")
    assert np.linalg.norm(b - matrix @ residual) <= np.linalg.norm(b) * (1 + 1e-12)
    exact = scaled_guess(matrix.__matmul__, b, -7 * u)
    np.testing.assert_allclose(exact, u, rtol=1e-10)


def test_what_cannot_be_is_refused(matrix: np.ndarray) -> None:
    b = np.ones(SIZE)
    with pytest.raises(OpkitInputError, match="NaN"):
        flexible_cg(matrix.__matmul__, b * np.nan, np.copy)
    with pytest.raises(OpkitInputError, match="tolerance"):
        flexible_cg(matrix.__matmul__, b, np.copy, tolerance=0)
    with pytest.raises(NotConvergedError, match="positive definite"):
        flexible_cg(lambda u: -u, b, np.copy)
    with pytest.raises(NotConvergedError, match="after 2 steps"):
        flexible_cg(matrix.__matmul__, b, np.copy, max_iterations=2)
    # cond(A) ε |u| |A| is 1e-12 |b|: no u in float64 has a residual of 1e-17
    with pytest.raises(NotConvergedError, match="stopped"):
        flexible_cg(matrix.__matmul__, b, np.copy, tolerance=1e-17)
    assert not flexible_cg(matrix.__matmul__, 0 * b, np.copy).solution.any()


@pytest.mark.parametrize("name", NAMES)
def test_conventional_preconditioners_are_symmetric_and_positive(name: str) -> None:
    if name == "multigrid":
        pytest.importorskip("numba")
    rng = np.random.default_rng(4)
    system = assemble(np.exp(2 * rng.normal(size=(13, 15))), "harmonic")
    solve_for = preconditioner(name, system, 3.0)
    r, q = rng.normal(size=(2, 11, 13))
    # multigrid's cycle is in float32
    close = 1e-5 if name == "multigrid" else 1e-12
    assert np.vdot(q, solve_for(r)) == pytest.approx(
        np.vdot(r, solve_for(q)), abs=close * np.linalg.norm(solve_for(r)) * 20
    )
    assert np.vdot(r, solve_for(r)) > 0
    if name == "sine":  # the inverse where the permeability is its mean
        plain = assemble(np.full((13, 15), 3.0), "harmonic")
        np.testing.assert_allclose(plain.apply(solve_for(r)), r, atol=1e-10)


def test_the_source_case_is_darcy_with_another_right_side() -> None:
    case = opkit.load_case("darcy-source", ("resolution=17",))
    solver, rng = case.build_solver(), np.random.default_rng(5)
    drawn = solver.sample(rng)
    x = np.linspace(0, 1, 17)
    wave = np.sin(np.pi * x)[:, None] * np.sin(2 * np.pi * x)
    size = (2 * 16 * np.sin(np.pi / 32)) ** 2 + (2 * 16 * np.sin(2 * np.pi / 32)) ** 2
    # a = e, and the wave is an eigenvector of the five-point Laplacian
    inputs = {"log_permeability": np.ones((1, 17, 17)), "source": wave[None]}
    p = solver.solve(inputs).outputs["pressure"][0]
    np.testing.assert_allclose(p, wave / (np.e * size), atol=1e-8 * np.abs(p).max())
    system = solver.equations(drawn)
    assert not system.right[0].any() and system.apply(system.right)[:, -1].any() == 0
    rms = np.sqrt((drawn["source"][1:-1, 1:-1] ** 2).mean())
    assert rms == pytest.approx(1)


def test_directions_are_judged_without_a_solution() -> None:
    solver = opkit.load_case("darcy-source", ("resolution=17",)).build_solver()
    drawn = solver.sample(np.random.default_rng(8))
    batch = {name: field[None] for name, field in drawn.items()}
    p = torch.tensor(solver.solve(batch).outputs["pressure"])
    inputs = {name: torch.tensor(field) for name, field in batch.items()}
    left, step = solver.torch_direction(inputs, {"pressure": -2 * p})
    # what the solver's rtol of 1e-8 (H-1) leaves, times 1/h in the Euclidean norm
    assert float(left) < 1e-5 and float(step) == pytest.approx(-0.5, rel=1e-6)
    rough = torch.zeros_like(p)
    rough[0, 8, 8] = 1.0
    b = drawn["source"]
    image = solver.equations(drawn).apply(rough[0].numpy())
    best = b - b[8, 8] / image[8, 8] * image
    left, step = solver.torch_direction(inputs, {"pressure": rough})
    assert float(step) == pytest.approx(b[8, 8] / image[8, 8])
    inside = b[1:-1, 1:-1]
    assert float(left) == pytest.approx(
        np.linalg.norm(best[1:-1, 1:-1]) / np.linalg.norm(inside)
    )
    left, step = solver.torch_direction(inputs, {"pressure": 0 * p})
    assert float(left) == pytest.approx(1) and float(step) == 0


@pytest.mark.slow
def test_training_on_directions_finds_better_ones(learned: Surrogate) -> None:
    solver, rng = learned.context.case_solver.solver, np.random.default_rng(9)
    drawn = [solver.sample(rng) for _ in range(10)]
    names = ("log_permeability", "source")
    batch = {k: torch.tensor(np.stack([one[k] for one in drawn])) for k in names}
    p = learned({k: field.float() for k, field in batch.items()})["pressure"]
    left, step = solver.torch_direction(batch, {"pressure": p.double()})
    steepest, _ = solver.torch_direction(batch, {"pressure": batch["source"]})
    assert left.mean() < 0.85 * steepest.mean()  # 0.70 here
    assert 0.8 < step.mean() < 1.25  # the second term: 1 is the right size


def test_directions_are_refused_where_the_solver_has_none(darcy, tmp_path) -> None:
    settings = ("training.loss=direction", "subsample=1", "model.n_modes=[8, 8]")
    with pytest.raises(
        OpkitInputError, match=r"training\.loss direction: darcy in mode"
    ):
        train(darcy.data, tmp_path / "run", operator="fno", overrides=settings)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    folder = tmp_path_factory.mktemp("source")
    sizes = ("samples.train=60", "samples.validation=10", "samples.test=0")
    law = "distribution={kind: two-phase, low: 0.5, high: 2}"
    case = opkit.load_case("darcy-source", ("resolution=17", law, *sizes))
    data = generate(case, folder / "data.h5")
    train(data, folder / "run", operator="fno", overrides=SETTINGS, device="cpu")
    return opkit.load(folder / "run")


@pytest.mark.filterwarnings("ignore:trained at")
@pytest.mark.parametrize("n", [17, 24])
def test_a_surrogate_preconditions_its_own_case(learned: Surrogate, n: int) -> None:
    case = opkit.load_case("darcy-source", (f"resolution={n}",))
    inputs = dict(case.build_solver().sample(np.random.default_rng(6)))
    inputs["log_permeability"] /= 3
    inputs["source"] = np.ones((n, n))
    solved = solve(learned, inputs, tolerance=1e-10)
    a = np.exp(inputs["log_permeability"])
    system = assemble(a, "harmonic")
    r = 1 - system.apply(solved.solution[1:-1, 1:-1])
    assert np.linalg.norm(r) <= 1e-10 * (n - 2)
    solver = case.build_solver()
    batch = {name: field[None] for name, field in inputs.items()}
    exact = solver.solve(batch).outputs["pressure"][0]
    # rtol 1e-8 of the solver; contrast 4.6
    np.testing.assert_allclose(solved.solution, exact, atol=1e-7 * exact.max())


def test_learned_maps_are_homogeneous_and_odd_on_wish(learned: Surrogate) -> None:
    solver = opkit.load_case("darcy-source", ("resolution=17",)).build_solver()
    inputs = solver.sample(np.random.default_rng(7))
    r = inputs["source"]
    plain, odd = Learned(learned, inputs), Learned(learned, inputs, odd=True)
    # float32 inside
    np.testing.assert_allclose(plain(1e-9 * r), 1e-9 * plain(r), rtol=1e-4, atol=1e-14)
    np.testing.assert_allclose(odd(-r), -odd(r), rtol=1e-4, atol=1e-6)
    assert not plain(0 * r).any()
    laplacian = sine_laplacian((17, 17))
    z = equations(learned, inputs).conventional(r)
    assert np.vdot(z[1:-1, 1:-1], laplacian.solve(z[1:-1, 1:-1])) > 0


def test_preconditioners_are_for_cases_with_a_source(darcy, learned: Surrogate) -> None:
    with pytest.raises(OpkitInputError, match="linear in a source"):
        solve(darcy.load(), {"permeability": np.ones((17, 17))})
    with pytest.raises(OpkitInputError, match="log_permeability"):
        Learned(learned, {"source": np.ones((17, 17))})
    with pytest.raises(OpkitInputError, match=r"source.*shape"):
        solve(learned, {"log_permeability": np.ones((17, 17))})
