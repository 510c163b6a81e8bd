"""The pipelines of examples/pipelines at small sizes, against what must hold."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import opkit
from opkit.case.catalogue import load_case
from opkit.case.record import parse_case
from opkit.control import regulator, system_of

pytest.importorskip("matplotlib")
FOLDER = Path(__file__).parents[2] / "examples" / "pipelines"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_short() -> None:
    files = [p for p in FOLDER.iterdir() if p.is_file()]
    assert len(files) == 11
    assert all(len(p.read_text().splitlines()) < 120 for p in files)


def test_an_ensemble_is_lazy_and_its_corrected_mean_is_the_solvers(
    darcy_run: Path,
) -> None:
    pytest.importorskip("dask.array")
    results = example("ensemble").main(str(darcy_run), members=60, solved=60)
    assert results["lazy"]
    # all members solved: surrogate mean + mean gap = solver mean, up to float32
    assert results["corrected mean"][0] == pytest.approx(
        results["solver mean"][0], rel=1e-5
    )
    gap, bias = (
        results["solver mean"][0] - results["surrogate mean"][0],
        results["bias"][0],
    )
    assert gap == pytest.approx(bias, rel=1e-3)
    # chunks do not change what is drawn
    few = example("ensemble")
    few.CHUNK = 7
    again = few.main(str(darcy_run), members=60, solved=10)
    assert again["surrogate mean"] == pytest.approx(results["surrogate mean"], rel=1e-5)


def test_inversion_finds_the_permeability(darcy_run: Path, tmp_path: Path) -> None:
    figure = tmp_path / "fields.png"
    rows = example("inversion").main(str(darcy_run), figure)
    error, misfit, _ = rows["solver"]
    # the prior mean has error 1, and fitting to the noise has misfit 1
    assert error < 0.5
    assert 0.4 < misfit < 1.1
    # a surrogate wrong by 10 % cannot use data that are right to 1 %
    assert error < rows["surrogate"][0] < 3
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_pcn_keeps_the_prior_where_there_are_no_data() -> None:
    """With Φ = 0 every proposal is accepted, and N(0, 1) is invariant."""
    rng = np.random.default_rng(0)

    def draw(rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(400)

    mean, spread, rate, beta = example("bayes").pcn(lambda w: 0.0, draw, rng, 3000)
    assert rate == 1 and beta == 1
    # with β = 1 the draws are independent: standard errors are 1/√2500 and less
    assert np.abs(mean).max() < 5 / 2500**0.5
    assert spread == pytest.approx(1, abs=0.01)


def test_pcn_samples_a_gaussian_posterior() -> None:
    """y = x + N(0, 1/4), x ~ N(0, 1): mean 4 y / 5, variance 1 / 5."""
    rng = np.random.default_rng(1)

    def draw(rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(1)

    mean, spread, rate, _ = example("bayes").pcn(
        lambda x: float(2 * (x[0] - 1) ** 2), draw, rng, 30_000
    )
    # 25,000 steps of an autocorrelation time below 25: standard error below 0.015
    assert mean[0] == pytest.approx(0.8, abs=0.05)
    assert spread == pytest.approx(0.2**0.5, abs=0.03)
    assert 0.1 < rate < 0.5


@pytest.mark.slow
def test_both_chains_move_at_the_tuned_rate(flow_run: Path) -> None:
    module = example("bayes")
    module.NOISE = 1.0  # as large as the values' spread: short chains get about
    rows = module.main(str(flow_run), 1200)
    for error, spread, rate, beta, seconds in rows.values():
        assert 0 < error < 2**0.5 and spread > 0  # a draw of the prior has error √2
        assert 0.1 < rate < 0.6 and 0 < beta < 1 and seconds > 0


def test_a_surrogate_in_a_dolfinx_loop(darcy_run: Path) -> None:
    pytest.importorskip("dolfinx_solver")
    module = example("fenicsx_loop")
    results = module.main(str(darcy_run), 4, 10)
    assert 0 < results["difference of c"] < 0.2


def test_a_dolfinx_loop_conserves_a_constant(darcy_run: Path) -> None:
    """Without flow ∂c/∂t + c = 1: backward Euler gives 1 - (1 + dt)^-n on the left."""
    pytest.importorskip("dolfinx_solver")
    module = example("fenicsx_loop")
    still = np.zeros((9, 9))
    c, _ = module.transport(lambda a: still, still + 1, 5, 8)
    left, right = c[4, 0], c[4, -1]
    assert left == pytest.approx(1 - 1.1**-5, rel=0.02)
    assert abs(right) < 0.02


@pytest.mark.slow
def test_an_implicit_loop_takes_larger_steps(darcy_run: Path) -> None:
    """Second order against first: eight times the step, and still a smaller error."""
    pytest.importorskip("dolfinx_solver")
    rows = example("fenicsx_implicit").main(str(darcy_run), 2)
    first, many = rows["flow before, 2 steps"], rows["flow before, 16 steps"]
    assert many == pytest.approx(first / 8, rel=0.5)  # of first order
    assert rows["implicit, 2 steps"] < many < first < 0.2
    # quadratic: a wrong product with the Jacobian would take many more
    assert 1 <= rows["Newton iterations a step"] <= 4


@pytest.mark.slow
def test_the_shell_matrix_is_the_derivative(darcy_run: Path) -> None:
    """Central differences with a step of 1e-3.

    Measured: 4.5e-4 with pressures in float32, and 5.5e-5, 5.0e-6, 5.5e-7 in float64
    for steps of 1e-3, 3e-4, 1e-4, which is second order. Larger steps turn the flow
    round where it is slow.
    """
    pytest.importorskip("dolfinx_solver")
    module = example("fenicsx_implicit")
    surrogate = opkit.load(darcy_run)
    a0 = np.exp(np.random.default_rng(0).normal(size=(17, 17)) / 4)
    loop = module.Transport(surrogate, a0)
    loop.dt.value, rng = 0.1, np.random.default_rng(1)
    state, v = rng.uniform(0, 1, 289), rng.normal(size=289)

    def residual(c: np.ndarray) -> np.ndarray:
        loop.now.array[:] = c
        out = loop.now.duplicate()
        loop.function(None, loop.now, out)
        return out.array.copy()

    step = 1e-3 * v
    difference = (residual(state + step) - residual(state - step)) / 2e-3
    residual(state)
    loop.jacobian()
    x, y = loop.now.duplicate(), loop.now.duplicate()
    x.array[:] = v
    loop.mult(None, x, y)
    gap = np.linalg.norm(y.array - difference)
    assert gap < 2e-3 * np.linalg.norm(difference)
    # without the surrogate's slope it is another matrix
    loop.matrices[0].mult(x, y)
    assert np.linalg.norm(y.array - difference) > 100 * gap


@pytest.mark.slow
def test_eddies_spread(eddies_run: Path, tmp_path: Path) -> None:
    module = example("eddy_forecast")
    scores = module.main(str(eddies_run), 4, 2, tmp_path / "eddies.png")
    for error, spread, seconds in scores.values():
        assert error.shape == spread.shape == (4,)
        assert (error > 0).all() and (spread > 0).all() and seconds > 0
    error, spread, _ = scores["solver"]
    # members differ from the analysis by a tenth, as the analysis does from the truth
    assert 0.03 < spread[0] < 0.3 and 0.03 < error[0] < 0.3
    assert (tmp_path / "eddies.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_workflow_makes_everything_once(tmp_path: Path) -> None:
    pytest.importorskip("snakemake")
    scripts = Path(sys.executable).parent
    program = shutil.which("snakemake", path=str(scripts)) or shutil.which("snakemake")
    assert program is not None
    settings = "resolution=17 samples=60 epochs=2 subsample=1 operators=fno-demo,unet"
    words = [program, "-s", str(FOLDER / "Snakefile"), "--cores", "1"]
    words += ["-d", str(tmp_path), "--config", *settings.split()]

    def run() -> str:
        environment = {"PATH": f"{scripts}:/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(
            words, capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    run()
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert any(row.startswith("unet,surrogate") for row in rows)
    for operator in ("fno-demo", "unet"):
        assert (tmp_path / operator / "report.html").stat().st_size > 50_000
        assert opkit.load(tmp_path / operator / "run").config.operator
    assert "Nothing to be done" in run()


def test_a_design_is_solved_again_and_better(bumps_run: Path) -> None:
    """J as the solver says, less area for less pressure, and the area that is asked."""
    design = example("design")
    rows, best = design.main(bumps_run, budget=7, rivals=False)
    value, solves, _ = rows["surrogate, solved again"]
    assert solves <= 7
    case = parse_case(opkit.load(bumps_run).config.case)
    solver = case.build_solver()

    def drop(heights: np.ndarray, widths: np.ndarray) -> float:
        inputs = {**design.FIXED, "heights": heights, "widths": widths}
        solved = solver.solve({name: np.array([a]) for name, a in inputs.items()})
        pressure = torch.from_numpy(solved.outputs["pressure"][0])
        return float(design.drop({"pressure": pressure}, {}))

    found = best.inputs["heights"], best.inputs["widths"]
    # solved once from a prediction and once from nothing, to rtol 1e-8
    assert value == pytest.approx(drop(*found), rel=1e-6)
    middle = [np.mean(case.parameters[n].support) * np.ones(3) for n in design.VARY]
    assert value < 0.95 * drop(*middle)  # the middle of the box costs 1.2 times as much
    # the constraint is SLSQP's, met to its tolerance
    assert 32 / 35 * found[0] @ found[1] == pytest.approx(design.AREA, rel=1e-3)


def test_few_solves_correct_the_mean_of_many_predictions(bumps_run: Path) -> None:
    uncertainty = example("uncertainty")
    every = uncertainty.main(bumps_run, members=30, solved=30)
    # all solved: the weight drops out, the mean is the solver's
    assert every["both"][0] == pytest.approx(every["solver alone"][0], rel=1e-6)
    few = uncertainty.main(bumps_run, members=400, solved=30)
    assert few["correlation"] > 0.9
    # by 1 / √(1 - ρ²) where many are predicted: 2.3 for ρ = 0.9
    assert few["both"][1] < 0.7 * few["solver alone"][1]


def test_delayed_acceptance_samples_the_solvers_law_with_a_wrong_surrogate() -> None:
    """N(0, 1) by proposals from N(0.5, 1.5²): mean and deviation within 4 errors.

    4,000 proposals of 10 steps: more than 500 effective samples are counted on, whose
    mean has an error of 0.045, their deviation of 0.032.
    """
    delayed, rng = example("delayed"), np.random.default_rng(0)
    step = delayed.random_step(np.eye(1), rng)

    def wrong(z: np.ndarray) -> float:
        return -0.5 * float(((z - 0.5) / 1.5) @ ((z - 0.5) / 1.5))

    proposed = delayed.surrogate_steps(wrong, step, 10, rng)
    path, accepted = delayed.chain(
        np.zeros(1), lambda z: -0.5 * float(z @ z), proposed, 4000, rng
    )
    assert delayed.effective(path) > 500
    assert abs(path.mean()) < 4 * 0.045
    assert abs(path.std() - 1) < 4 * 0.032
    assert 0.3 < accepted < 1


def test_delayed_acceptance_runs_on_a_surrogate(bumps_run: Path) -> None:
    rows, true = example("delayed").main(
        bumps_run, solves=6, inner=3, rounds=2, steps=40
    )
    for mean, std, size, accepted, _ in rows.values():
        assert ((mean > 0) & (mean < 1)).all() and 0 <= accepted <= 1
        # a chain that starts at the truth stays in what the data allow
        assert (np.abs(mean - true) < 0.8).all()
        assert np.isfinite(std).all() and np.isfinite(size)


def test_plans_are_the_optimum_where_the_surrogate_is_exact() -> None:
    """On a linear system, costs of AHEAD intervals are least squares."""
    control = example("control")
    case = load_case(
        "advection-diffusion", ("resolution=16", "distribution.waves=[1, 4]")
    )
    system = system_of(case, actuators=3, width=0.2, steps=1, price=0.1)
    matrix = torch.as_tensor(regulator(system).transition, dtype=torch.float32)

    class Exact:
        def rollout(self, frames: torch.Tensor, steps: int) -> torch.Tensor:
            return frames @ matrix.T

    control.AHEAD, control.ROUNDS, control.RATE = 4, 400, 0.05
    state = 1 + np.sin(2 * np.pi * np.arange(16) / 16)[None]
    first = control.plans(Exact(), system)(state)[0]

    def ends(actions: np.ndarray) -> np.ndarray:
        now, rows = state, [np.sqrt(system.price) * actions]
        for action in actions.reshape(4, 3):
            now = system.advance(now, action[None])
            rows.append(np.sqrt(system.weights) * now[0])
        return np.concatenate(rows)

    offset = ends(np.zeros(12))
    columns = np.stack([ends(row) - offset for row in np.eye(12)], 1)
    best = np.linalg.lstsq(columns, -offset, rcond=None)[0]
    # 400 steps of Adam, which are 0.05 at first, end nearer than one of them
    assert first == pytest.approx(best[:3], abs=0.02)
    assert best[0] < -1
