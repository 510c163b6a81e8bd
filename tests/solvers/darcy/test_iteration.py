"""Darcy flow: the iterations reach the discrete solution, or say that they did not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve

from opkit.errors import MissingExtraError, NotConvergedError, OpkitInputError
from opkit.solvers.darcy.five_point import SineLaplacian, System, assemble
from opkit.solvers.darcy.iteration import choose
from opkit.solvers.darcy.on_torch import solve_batch
from opkit.solvers.darcy.solver import Darcy
from opkit.solvers.laws.permeability import LogNormal, TwoPhase


def matrix(system: System) -> sparse.csr_matrix:
    """A as a sparse matrix, built from nothing but `apply`'s definition."""
    rows, columns = system.diagonal.shape
    east = system.west_east[:, 1:].copy()
    east[:, -1] = 0  # no coupling from the end of a row to the next one
    north = system.south_north[1:-1]
    return sparse.diags_array(
        [
            system.diagonal.ravel(),
            -east.ravel()[:-1],
            -east.ravel()[:-1],
            -north.ravel(),
            -north.ravel(),
        ],
        offsets=[0, 1, -1, columns, -columns],
        shape=(rows * columns, rows * columns),
    ).tocsc()


def fields(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Permeabilities of contrast up to 10⁴ that trouble solvers, each in its way."""
    i, j = np.indices(shape)
    rng = np.random.default_rng(0)
    channels = np.ones(shape)
    channels[::5], channels[:, ::7] = 1e4, 1e4
    return {
        "two phases": TwoPhase(low=1e-4, high=1.0).draw(rng, shape),
        "log-normal": LogNormal(scale=3.0).draw(rng, shape),
        "noise": 10 ** rng.uniform(0, 4, shape),
        "inclusions": np.where(rng.random(shape) < 0.05, 1e4, 1.0),
        "checkers": np.where((i // 2 + j // 2) % 2, 1e4, 1.0),
        "channels": channels,
    }


@pytest.mark.parametrize("name", sorted(fields((3, 3))))
@pytest.mark.parametrize("shape", [(65, 65), (48, 75)])
@pytest.mark.parametrize("preconditioner", ["sine", "multigrid"])
def test_high_contrast_agrees_with_a_direct_solution(
    name: str, shape: tuple[int, int], preconditioner: str
) -> None:
    if preconditioner == "multigrid":
        pytest.importorskip("numba")
    a = fields(shape)[name]
    solver = Darcy(resolution=shape, rtol=1e-10, preconditioner=preconditioner)
    solution = solver.solve({"permeability": a[None]})
    system = assemble(a, "harmonic")
    direct = spsolve(matrix(system), np.ones(system.diagonal.size))
    error = solution.outputs["pressure"][0, 1:-1, 1:-1].ravel() - direct
    # In the energy norm the relative error is at most √contrast · rtol = 1e-8; the
    # direct solution adds its own round-off, up to 1e-16 κ(A), 1e-8 again.
    energy = np.sqrt(error @ matrix(system) @ error / direct.sum())
    assert energy < 2e-8
    if preconditioner == "multigrid":
        assert solution.details["iterations"][0] <= 40


@pytest.mark.parametrize("n", [*range(5, 25), 33, 64, 85])
def test_multigrid_is_symmetric_positive_and_close_to_the_inverse(n: int) -> None:
    """M⁻¹A has its spectrum in (0.5, 1 + round-off], for every parity of levels."""
    pytest.importorskip("numba")
    from opkit.solvers.darcy.multigrid import Multigrid

    rng = np.random.default_rng(n)
    multigrid = Multigrid(assemble(TwoPhase().draw(rng, (n, n)) / 12, "harmonic"))
    u, v = rng.standard_normal((2, n - 2, n - 2))
    one, other = np.vdot(u, multigrid.solve(v)), np.vdot(multigrid.solve(u), v)
    size = np.linalg.norm(u) * np.linalg.norm(multigrid.solve(v))
    assert abs(one - other) < 1e-5 * size  # the cycle runs in float32
    # Power iterations on 1 - M⁻¹A, which has to contract.
    for _ in range(30):
        u /= np.linalg.norm(u)
        u -= multigrid.solve(multigrid.apply(u))
    assert np.linalg.norm(u) < 0.5


@pytest.mark.parametrize("shape", [(9, 14), (22, 5)])
def test_sine_laplacian_inverts_the_five_point_laplacian(
    shape: tuple[int, int],
) -> None:
    laplacian = SineLaplacian(shape)
    r = np.random.default_rng(0).standard_normal([n - 2 for n in shape])
    assert assemble(np.ones(shape), "fno").apply(laplacian.solve(r)) == pytest.approx(r)
    assert laplacian.norm(r) ** 2 == pytest.approx(np.vdot(r, laplacian.solve(r)))


def test_choice_of_preconditioner() -> None:
    pytest.importorskip("numba")
    assert choose(np.full((40, 40), 3.0)) == "sine"
    assert choose(np.full((85, 85), 3.0)) == "multigrid"
    assert choose(np.geomspace(1, 101, 900).reshape(30, 30)) == "multigrid"
    assert choose(np.full((300, 100), 3.0)) == "sine"


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sine transform takes over; asking for multigrid names the extra."""
    monkeypatch.setattr(
        "opkit.solvers.darcy.iteration.find_spec", lambda name: None, raising=True
    )

    def absent(module: str, extra: str) -> None:
        raise MissingExtraError(f"{module}: opkit[{extra}]")

    monkeypatch.setattr("opkit.solvers.darcy.iteration.require", absent)
    a = {"permeability": fields((65, 65))["two phases"][None]}
    solver = Darcy(resolution=(65, 65))
    assert solver.solve(a).error[0] <= 1e-8
    with pytest.raises(MissingExtraError, match="fast"):
        replace(solver, preconditioner="multigrid").solve(a)


@pytest.mark.parametrize("preconditioner", ["sine", "multigrid"])
def test_too_few_iterations_are_an_error(preconditioner: str) -> None:
    if preconditioner == "multigrid":
        pytest.importorskip("numba")
    a = np.stack([np.ones((50, 50)), fields((50, 50))["noise"]])
    solver = Darcy(
        resolution=(50, 50), max_iterations=2, rtol=1e-8, preconditioner=preconditioner
    )
    with pytest.raises(NotConvergedError, match=r"residual .* above rtol"):
        solver.solve({"permeability": a})


def test_a_good_first_guess_saves_iterations_and_changes_nothing_else() -> None:
    solver = Darcy(resolution=(65, 65), preconditioner="sine")
    a = {"permeability": solver.sample(np.random.default_rng(1))["permeability"][None]}
    cold = solver.solve(a)
    noise = 1e-3 * np.random.default_rng(2).standard_normal((1, 65, 65))
    guess = {"pressure": cold.outputs["pressure"] * (1 + noise)}
    warm = solver.solve_from(a, guess)
    assert warm.details["iterations"] < cold.details["iterations"] - 3
    assert warm.error[0] <= solver.rtol
    difference = warm.outputs["pressure"] - cold.outputs["pressure"]
    assert np.abs(difference).max() < 1e-7 * cold.outputs["pressure"].max()
    again = solver.solve_from(a, cold.outputs)
    assert again.details["iterations"] == 0


@pytest.mark.parametrize("n", [43, 421])
def test_residual_of_stored_data(n: int) -> None:
    """Rounding to float32 is seen at 1e-7 N / 8, an error of one per mille as such."""
    solver = Darcy(resolution=(n, n))
    a = solver.sample(np.random.default_rng(0))["permeability"][None]
    solution = solver.solve({"permeability": a})
    p = solution.outputs["pressure"]
    assert solver.residual({"permeability": a}, {"pressure": p}) == pytest.approx(
        solution.error, rel=1e-3
    )
    stored = {"pressure": p.astype(np.float32)}
    floor = solver.residual({"permeability": a.astype(np.float32)}, stored)[0]
    assert 1e-9 * n < floor < 3e-8 * n
    wrong = {"pressure": p * 1.001}
    assert solver.residual({"permeability": a}, wrong)[0] == pytest.approx(
        1e-3, rel=1e-3
    )
    assert solver.residual({"permeability": a}, {"pressure": 0 * p})[0] == 1.0


@pytest.mark.parametrize("faces", ["harmonic", "fno"])
def test_torch_finds_the_same_pressure(faces: str) -> None:
    solver = Darcy(resolution=(40, 57), rtol=1e-10, faces=faces)
    rng = np.random.default_rng(4)
    rough = 10.0 ** rng.uniform(-1, 1, (40, 57))
    a = np.stack([TwoPhase().draw(rng, (40, 57)), rough, np.full((40, 57), 1e-30)])
    expected = solver.solve({"permeability": a})
    pressure = np.zeros_like(a)
    iterations, error = solve_batch(solver, a, pressure, "cpu")
    assert (error <= 1e-10).all()
    for i in range(3):  # both within √100 · rtol of the discrete solution
        scale = np.abs(expected.outputs["pressure"][i]).max()
        difference = np.abs(pressure[i] - expected.outputs["pressure"][i]).max()
        assert difference < 2e-9 * scale
    assert iterations[0] < iterations[1]


@pytest.mark.gpu
def test_the_gpu_finds_the_same_pressure() -> None:
    cpu = Darcy(resolution=(85, 85), rtol=1e-10)
    a = np.stack([cpu.sample(np.random.default_rng(i))["permeability"] for i in (0, 1)])
    expected = cpu.solve({"permeability": a}).outputs["pressure"]
    pressure = (
        replace(cpu, device="cuda").solve({"permeability": a}).outputs["pressure"]
    )
    assert np.abs(pressure - expected).max() < 2e-9 * expected.max()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu_is_said_in_one_line() -> None:
    solver = Darcy(resolution=(9, 9), device="cuda")
    with pytest.raises(OpkitInputError, match="choose cpu"):
        solver.solve({"permeability": np.ones((1, 9, 9))})
