"""The programs of examples/tools; each is skipped where its package is not there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import opkit

FOLDER = Path(__file__).parents[2] / "examples" / "tools"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_tool_is_short() -> None:
    files = list(FOLDER.glob("*.py"))
    assert len(files) == 8
    assert all(len(p.read_text().splitlines()) < 120 for p in files)


def moments(log_p, low, high, n=25):
    """Mean and deviation of exp(log_p) over a box in the plane, by the middle rule."""
    middles = low + (high - low) * (np.arange(n)[:, None] + 0.5) / n
    points = np.stack(np.meshgrid(*middles.T, indexing="ij"), -1).reshape(-1, 2)
    values = np.array([log_p(z) for z in points])
    weights = np.exp(values - values.max())
    weights /= weights.sum()
    mean = weights @ points
    return mean, np.sqrt(weights @ np.square(points - mean))


@pytest.mark.slow
def test_emcee_over_http_has_the_posterior_of_a_quadrature(bumps_run: Path) -> None:
    pytest.importorskip("umbridge")
    pytest.importorskip("emcee")
    from fixtures.http import running

    from opkit.serve.server import Server

    tool = example("emcee_umbridge")
    with running(Server(opkit.load(bumps_run))) as url:
        draws = tool.main(url, 400)
        mean, std = moments(tool.problem(url), tool.LOW, tool.HIGH)
    # 8 walkers of 300 steps, correlated over about 30: 80 draws that count
    assert (np.abs(draws.mean(0) - mean) < 4 * std / 80**0.5).all()
    assert (np.abs(draws.std(0) / std - 1) < 0.35).all()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_delayed_acceptance_over_http_has_the_solvers_posterior(
    bumps_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and deviation within four Monte Carlo errors of the solver's quadrature."""
    pytest.importorskip("umbridge")
    pytest.importorskip("emcee")
    from fixtures.http import running

    from opkit.serve.server import Server

    monkeypatch.syspath_prepend(str(FOLDER))
    tool = example("delayed_umbridge")
    with running(Server(opkit.load(bumps_run))) as url:
        draws, accepted = tool.main(url, 600, 5)
        log_p = tool.problem(url, level="solver")
        # the posterior is narrower than a cell of the whole box
        wide, middle = 5 * draws.std(0), draws.mean(0)
        mean, std = moments(log_p, middle - wide, middle + wide, 20)
    size = tool.effective(draws)
    assert accepted > 0.05 and size > 15  # the surrogate is off by 10 %
    assert (np.abs(draws.mean(0) - mean) < 4 * std / size**0.5).all()
    # the error of a deviation is 1 / √(2 n) of it for a normal law
    assert (np.abs(draws.std(0) / std - 1) < 4 / (2 * size) ** 0.5).all()


@pytest.mark.slow
def test_sbi_has_the_posterior_of_a_quadrature(
    bumps_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sbi")
    monkeypatch.chdir(tmp_path)  # sbi writes its curves there
    import torch

    tool = example("sbi_posterior")
    draws, measured, sigma = tool.main(str(bumps_run), simulations=1500, draws=1000)
    surrogate = opkit.load(bumps_run)

    def log_p(z):
        point = torch.tensor(z[None], dtype=torch.float32)
        misses = (tool.predicted(surrogate, point).numpy()[0] - measured) / sigma
        return -0.5 * float(misses @ misses)

    mean, std = moments(log_p, tool.LOW.numpy(), tool.HIGH.numpy())
    # a flow learnt from 1,500 simulations: half a deviation, and as wide within a half
    assert (np.abs(draws.mean(0) - mean) < 0.5 * std + 0.02 * std).all()
    assert (draws.std(0) > 0.6 * std).all() and (draws.std(0) < 2 * std).all()


@pytest.mark.slow
def test_openmdao_has_right_partials_and_keeps_its_constraints(bumps_run: Path) -> None:
    pytest.importorskip("openmdao")
    tool = example("openmdao_design")
    surrogate = opkit.load(bumps_run)
    p = tool.problem(surrogate)
    p.run_model()
    partials = p.check_partials(out_stream=None, step=1e-3, form="central")
    for name in ("heights", "widths"):
        own = partials["flow"]["drop", name]
        (forward,) = own["J_fwd"]
        (differences,) = own["J_fd"]
        # differences of a model in float32 over 2e-3: about 1e-6 / 2e-3 of the drop
        np.testing.assert_allclose(forward, differences, rtol=2e-2, atol=5e-3)
    start, best, solved = tool.main(str(bumps_run))
    assert best["drop"][0] < start
    assert best["area"][0] > tool.AREA - 1e-3
    assert best["error_bound"][0] <= tool.LIMIT + 1e-3
    assert best["novelty"][0] <= tool.STRANGE + 1e-2
    assert solved == pytest.approx(best["drop"][0], rel=0.3)


def test_sobol_indices_of_ishigamis_function() -> None:
    """V = a²/8 + b π⁴/5 + b² π⁸/18 + 1/2; S = (1/2 (1 + b π⁴/5)², a²/8, 0) / V."""
    pytest.importorskip("SALib")
    a, b = 7.0, 0.1

    def ishigami(x):
        return np.sin(x[:, 0]) * (1 + b * x[:, 2] ** 4) + a * np.sin(x[:, 1]) ** 2

    low, high = np.full(3, -np.pi), np.full(3, np.pi)
    first, half, total, _ = example("sensitivity").indices(ishigami, low, high, 1024)
    variance = a**2 / 8 + b * np.pi**4 / 5 + b**2 * np.pi**8 / 18 + 0.5
    alone = [0.5 * (1 + b * np.pi**4 / 5) ** 2 / variance, a**2 / 8 / variance, 0]
    assert (np.abs(first - alone) < 2 * half + 0.01).all()
    in_all = [1 - alone[1], alone[1], 1 - alone[0] - alone[1]]
    np.testing.assert_allclose(total, in_all, atol=0.05)


@pytest.mark.slow
def test_sensitivity_of_a_run(bumps_run: Path) -> None:
    pytest.importorskip("SALib")
    labels, (first, _, total, _) = example("sensitivity").main(str(bumps_run), 64)
    assert len(labels) == 10 and "reynolds 1" in labels
    assert np.isfinite(first).all() and (total > -0.05).all()
    # what bumps block matters more than where they are
    by_name = dict(zip(labels, total, strict=True))
    assert by_name["heights 2"] > by_name["places 2"]


@pytest.mark.slow
def test_dask_processes_say_what_one_process_says(bumps_run: Path) -> None:
    pytest.importorskip("distributed")
    words = [sys.executable, str(FOLDER / "dask_ensemble.py"), str(bumps_run), "300"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.match(r"mean pressure drop (.+) ± (.+), 2 processes", done.stdout)
    assert found is not None, done.stdout
    tool = example("dask_ensemble")
    parts = sum(tool.chunk(str(bumps_run), k, n) for k, n in ((0, 250), (1, 50)))
    deviation = np.sqrt(parts[2] / 300 - (parts[1] / 300) ** 2)
    # four decimals are printed
    assert float(found[1]) == pytest.approx(parts[1] / 300, abs=6e-5)
    assert float(found[2]) == pytest.approx(deviation / 300**0.5, abs=6e-5)


def test_a_tesseract_folder_is_made_once(darcy, tmp_path: Path) -> None:
    tool = example("tesseract_folder")
    out = tool.main(str(darcy.run), tmp_path / "flow")
    compile((out / "tesseract_api.py").read_text(), "tesseract_api.py", "exec")
    assert opkit.load(out / "bundle").config.operator == "fno"
    with pytest.raises(FileExistsError):
        tool.main(str(darcy.run), out)


@pytest.mark.slow
def test_a_tesseract_answers_and_differentiates(darcy, tmp_path: Path) -> None:
    core = pytest.importorskip("tesseract_core")
    out = example("tesseract_folder").main(str(darcy.run), tmp_path / "flow")
    flow = core.Tesseract.from_tesseract_api(out / "tesseract_api.py")
    a = darcy.permeability[0].astype(np.float64)
    reply = flow.apply({"permeability": a})
    checked = darcy.load()(a, check=True)
    np.testing.assert_allclose(reply["pressure"], checked.prediction, rtol=1e-6)
    assert reply["error_bound"] == checked.error_bound[0]
    assert bool(reply["resembles_training"]) == checked.resembles_training()[0]
    u, v = np.random.default_rng(0).standard_normal((2, *a.shape))
    names = (["permeability"], ["pressure"])
    back = flow.vector_jacobian_product({"permeability": a}, *names, {"pressure": u})
    along = flow.jacobian_vector_product(
        {"permeability": a}, *names, {"permeability": v}
    )
    # uᵀ J v from both sides, in float32
    left, right = (back["permeability"] * v).sum(), (along["pressure"] * u).sum()
    assert left == pytest.approx(right, rel=1e-3, abs=1e-6)
    jax, bridge = pytest.importorskip("jax"), pytest.importorskip("tesseract_jax")
    jax.config.update("jax_enable_x64", True)

    def weighted(field):
        answer = bridge.apply_tesseract(flow, {"permeability": field})
        return (answer["pressure"] * u).sum()

    slope = jax.grad(weighted)(jax.numpy.asarray(a))
    np.testing.assert_allclose(slope, back["permeability"], rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_a_policy_learns_to_hold_a_growing_field() -> None:
    pytest.importorskip("stable_baselines3")
    rows = example("ppo").main(12_000)
    mean = {name: row[0] for name, row in rows.items()}
    assert mean["nothing"] < mean["PPO, 12000 steps"] < mean["regulator"]
