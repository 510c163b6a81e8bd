"""Semilinear equations on a ring: solitons, fronts, growth rates, invariants, order."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from opkit.case import load_case
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.laws.periodic_fields import GaussianField
from opkit.solvers.laws.sines import Sines
from opkit.solvers.semilinear import Semilinear

KS = {"convection": 1.0, "diffusion": -1.0, "hyperdiffusion": 1.0}
KDV = {"convection": 1.0, "dispersion": 1.0}


def solver(points: int, length: float, **options: Any) -> Semilinear:
    return Semilinear(resolution=(points,), length=length, **options)


def solved(equation: Semilinear, initial: np.ndarray) -> np.ndarray:
    """The last record of one initial state."""
    states = equation.solve({"initial_state": initial[None]}).outputs["state"]
    last: np.ndarray = states[0, -1]
    return last


def grid(points: int, length: float) -> np.ndarray:
    return length * np.arange(points) / points


def smooth(seed: int, points: int, length: float, mean: float = 0.0) -> np.ndarray:
    """A random state of waves 1 to 4."""
    law = Sines(terms=6, amplitude=0.5, waves=(1, 4), mean=mean)
    return law.sample(np.random.default_rng(seed), (points,))


def test_a_soliton_travels_unchanged() -> None:
    """u = 3c sech²(√c (x − ct) / 2), whose images on the ring are below 1e-13."""
    c, length, points, time = 0.5, 96.0, 384, 2.0
    x = grid(points, length)

    def soliton(t: float) -> np.ndarray:
        from_crest = (x - c * t) % length - length / 2
        wave: np.ndarray = 3 * c / np.cosh(np.sqrt(c) / 2 * from_crest) ** 2
        return wave

    kdv = solver(points, length, **KDV, record_interval=time, rtol=1e-10)
    # rtol bounds the last doubling; round-off of the steps stays below it
    np.testing.assert_allclose(solved(kdv, soliton(0)), soliton(time), atol=2e-10)


def test_mass_momentum_and_energy_of_korteweg_de_vries_stand_still() -> None:
    points, length = 128, 40.0
    kdv = solver(points, length, **KDV, record_interval=2.0, rtol=1e-9)
    start = smooth(0, points, length)
    end = solved(kdv, start)

    def invariants(u: np.ndarray) -> np.ndarray:
        k = 2 * np.pi / length * np.arange(points // 2 + 1)
        slope = np.fft.irfft(1j * k * np.fft.rfft(u))
        return np.array([u.mean(), (u**2).mean(), (slope**2 / 2 - u**3 / 6).mean()])

    assert abs(end - start).max() > 0.1  # it moved
    np.testing.assert_allclose(invariants(end), invariants(start), rtol=0, atol=1e-9)


def test_small_waves_grow_at_the_linear_rate() -> None:
    """exp((k² − k⁴) t) for a tiny wave, whose square is below 1e-8 of it."""
    points, length, time = 32, 10 * np.pi, 2.0
    x, ks = grid(points, length), solver(points, length, **KS, record_interval=time)
    for waves in (2, 4, 6):
        k = 2 * np.pi * waves / length
        start = 1e-8 * np.sin(k * x)
        growth = np.exp((k**2 - k**4) * time)
        np.testing.assert_allclose(
            solved(ks, start), growth * start, rtol=0, atol=1e-7 * growth * 1e-8
        )


def test_order_in_time_is_four_and_in_space_spectral() -> None:
    length, time = 22.0, 2.0
    ks = solver(64, length, **KS, record_interval=time)
    start = smooth(1, 64, length)
    exact = ks.forecast(1024)(start)
    errors = [abs(ks.forecast(steps)(start) - exact).max() for steps in (64, 128)]
    # 4 in the limit; 3.4 between 16 and 32 steps, where stiff waves lower it
    assert 3.7 < np.log2(errors[0] / errors[1]) < 4.2
    coarse = solver(32, length, **KS, record_interval=time)
    apart = abs(coarse.forecast(512)(start[::2]) - exact[::2]).max()
    assert apart < 1e-4  # with 10 waves; differences of order 2 err by 1e-1


@pytest.mark.parametrize("equation", [KS, KDV], ids=["ks", "kdv"])
def test_galilei_and_reflection(equation: dict[str, float]) -> None:
    """u(x − Vt, t) + V and −u(−x, t) solve what u solves (the latter KS alone)."""
    points, length, time = 64, 32.0, 1.0
    ring = solver(points, length, **equation, record_interval=time, rtol=1e-8)
    start = smooth(2, points, length)
    end = solved(ring, start)
    cells = 3  # V t in grid cells, so that the shift is exact
    flow = cells * length / points / time
    # 10 rtol: the flow adds to the error of a step
    np.testing.assert_allclose(
        solved(ring, start + flow), np.roll(end, cells) + flow, rtol=0, atol=1e-7
    )
    if equation is KS:
        mirrored = -np.roll(start[::-1], 1)
        np.testing.assert_allclose(
            solved(ring, mirrored), -np.roll(end[::-1], 1), rtol=0, atol=1e-11
        )
    assert abs(end.mean() - start.mean()) < 1e-14


def test_advection_and_diffusion_are_exact() -> None:
    points, speed, viscosity, time = 32, 0.7, 0.02, 0.5
    x = grid(points, 1.0)
    linear = solver(
        points, 1.0, velocity=speed, diffusion=viscosity, record_interval=time
    )
    for waves in (1, 5, 15):  # all that the grid carries
        k = 2 * np.pi * waves
        decay = np.exp(-viscosity * k**2 * time)
        end = solved(linear, np.cos(k * x))
        exact = decay * np.cos(k * (x - speed * time))
        np.testing.assert_allclose(end, exact, rtol=0, atol=1e-13)


def test_constant_states_follow_the_reaction() -> None:
    time = 1.5
    both = {"growth": 1.0, "diffusion": 1.0, "record_interval": time, "rtol": 1e-9}
    fisher, cubic = (
        solver(16, 8.0, quadratic=-1, **both),
        solver(16, 8.0, cubic=-1, **both),
    )
    start, e = 0.2, np.exp(time)
    logistic = start * e / (1 + start * (e - 1))
    phase = start * e / np.sqrt(1 + start**2 * (e**2 - 1))
    state = np.full(16, start)
    np.testing.assert_allclose(solved(fisher, state), logistic, rtol=1e-9)
    np.testing.assert_allclose(solved(cubic, state), phase, rtol=1e-9)


def test_fronts() -> None:
    """The kink of Allen-Cahn stands; Fisher's wave 1/(1+exp(z/√6))² runs at 5/√6."""
    points, length = 512, 64.0
    x = grid(points, length)
    common = {"growth": 1.0, "diffusion": 1.0, "record_interval": 1.0, "rtol": 1e-8}
    kinks = np.tanh((x - 16) / np.sqrt(2)) * np.tanh((48 - x) / np.sqrt(2))
    end = solved(solver(points, length, cubic=-1, **common), kinks)
    np.testing.assert_allclose(end, kinks, rtol=0, atol=1e-7)  # rtol, both kinks

    def wave(t: float) -> np.ndarray:
        z = abs(x - length / 2) - 16 - 5 / np.sqrt(6) * t
        front: np.ndarray = 1 / (1 + np.exp(z / np.sqrt(6))) ** 2
        return front

    end = solved(solver(points, length, quadratic=-1, **common), wave(0))
    ahead = x > length / 2 + 10  # the fronts are exact but for exp(-16/√6) between them
    np.testing.assert_allclose(end[ahead], wave(1)[ahead], rtol=0, atol=1e-4)


def test_the_law_of_sines() -> None:
    law = Sines(terms=10, amplitude=0.5, waves=(1, 2))
    fine, coarse = (law.sample(np.random.default_rng(3), (n,)) for n in (64, 16))
    np.testing.assert_allclose(fine[::4], coarse, rtol=0, atol=1e-14)
    size = abs(np.fft.rfft(fine)) / 32
    assert size[1] > 1e-3 and size[2] > 1e-3
    assert size[3:].max() < 1e-15 and abs(fine.mean()) < 1e-15
    many = np.stack([law.sample(np.random.default_rng(i), (8,)) for i in range(2000)])
    # ten terms of variance A²/3 · 1/2; 2000 fields of two waves fix it to 5 %
    assert (many**2).mean() == pytest.approx(10 * 0.25 / 6, rel=0.05)


def test_spin_up_is_solving() -> None:
    drawn = {"record_interval": 0.5, "rtol": 1e-8, **KS}
    early, late = (solver(64, 32.0, spin_up=t, **drawn) for t in (0.0, 2.0))
    start, later = (
        s.sample(np.random.default_rng(0))["initial_state"] for s in (early, late)
    )
    records = solver(64, 32.0, records=4, **drawn)
    np.testing.assert_allclose(solved(records, start), later, rtol=0, atol=1e-6)


def test_residual_and_batches() -> None:
    ks = solver(64, 32.0, **KS, records=3, record_interval=0.5, tail=0.01)
    batch = np.stack([smooth(i, 64, 32.0) for i in range(3)])
    solution = ks.solve({"initial_state": batch})
    alone = ks.solve({"initial_state": batch[1:2]})
    assert (alone.outputs["state"][0] == solution.outputs["state"][1]).all()
    assert (solution.error <= ks.rtol).all()
    assert (ks.residual({"initial_state": batch}, solution.outputs) < 1e-6).all()
    wrong = {"state": 1.01 * solution.outputs["state"]}
    assert (ks.residual({"initial_state": batch}, wrong) > 5e-3).all()


def test_numbers_may_differ_from_sample_to_sample() -> None:
    ring = solver(32, 1.0, velocity=1.0, record_interval=0.25)
    start = np.cos(2 * np.pi * grid(32, 1.0))
    inputs = {"initial_state": np.stack([start, start]), "velocity": np.array([1, 2.0])}
    states = ring.solve(inputs).outputs["state"][:, 0]
    exact = np.stack([np.roll(start, 8), np.roll(start, 16)])
    np.testing.assert_allclose(states, exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": (31,)}, "even"),
        ({"hyperdiffusion": -1.0}, "greater than or equal to 0"),
        ({"distribution": {"kind": "sines", "waves": (2, 1)}}, "the lower first"),
        ({"distribution": {"kind": "sines", "waves": (1, 20)}}, "10 waves at most"),
        (
            {"distribution": {"kind": "gaussian", "alpha": 2, "tau": 1, "sigma": 1}},
            "distribution.length",
        ),
        ({"spin_up": -1}, "greater than or equal to 0"),
    ],
)
def test_bad_parameters(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Semilinear(**{"resolution": (32,), "length": 32.0, **KS, **change})


def test_equations_without_an_answer_are_refused() -> None:
    start = {"initial_state": smooth(0, 32, 32.0)[None]}
    with pytest.raises(OpkitInputError, match="without hyperdiffusion"):
        solver(32, 32.0, diffusion=-1.0).solve(start)
    with pytest.raises(OpkitInputError, match="shorter one"):
        solver(32, 32.0, growth=1.0, record_interval=100.0).solve(start)
    with pytest.raises(NotConvergedError, match=r"sample 0 of the batch.*too short"):
        solver(32, 1.0, convection=1.0, diffusion=1e-3, record_interval=0.3).solve(
            {"initial_state": np.sin(2 * np.pi * grid(32, 1.0))[None]}
        )


def test_a_state_that_blows_up_is_refused() -> None:
    """u' = −u², from −1: infinite at time 1."""
    falling = solver(16, 1.0, quadratic=-1.0, diffusion=0.1, record_interval=2.0)
    with pytest.raises(NotConvergedError, match="may blow up"):
        falling.solve({"initial_state": np.full((1, 16), -1.0)})


@pytest.mark.slow
def test_chaos_beyond_the_predictable_is_refused() -> None:
    """Round-off grows by exp(0.05 · 1000), so no number of steps brings rest."""
    ks = solver(32, 22.0, **KS, records=50, record_interval=20.0, tail=0.1)
    with pytest.raises(NotConvergedError, match="fewer records"):
        ks.solve({"initial_state": smooth(0, 32, 22.0)[None]})


@pytest.mark.parametrize(
    "name",
    ["kuramoto-sivashinsky", "korteweg-de-vries", "allen-cahn", "fisher"],
)
def test_the_cases_solve(name: str) -> None:
    changes = ("solver.parameters.records=1", "solver.parameters.rtol=1e-3")
    case = load_case(name, changes)
    if "spin_up" in case.solver.parameters:
        case = load_case(name, (*changes, "solver.parameters.spin_up=0"))
    ring = case.build_solver()
    drawn = ring.sample(np.random.default_rng(0))
    solution = ring.solve({key: field[None] for key, field in drawn.items()})
    assert solution.outputs["state"].shape == (1, 1, *case.shape)
    assert solution.error[0] <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["kuramoto-sivashinsky", "kuramoto-sivashinsky-32pi", "korteweg-de-vries"],
)
def test_first_samples_of_a_case_are_solved_as_it_stands(name: str) -> None:
    ring = load_case(name).build_solver()
    for number in range(8):  # a third was refused on 256 points (Korteweg-de Vries)
        rng = np.random.default_rng(np.random.SeedSequence([0, number]))
        drawn = ring.sample(rng)
        ring.solve({key: field[None] for key, field in drawn.items()})


def test_gaussian_fields_are_drawn_too() -> None:
    law = GaussianField(alpha=2, tau=1, sigma=1, length=32)
    ring = solver(64, 32.0, **KS, distribution=law, mean_flow=0.25)
    field = ring.sample(np.random.default_rng(0))["initial_state"]
    assert field.mean() == pytest.approx(0.25, abs=1e-14)
    assert abs(np.fft.rfft(field))[22:].max() < 1e-12  # beyond 2/3 of 32 modes
