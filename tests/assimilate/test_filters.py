"""Filters against the Kalman filter, Lorenz-96, and each other; what they refuse."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fixtures.command_line import Shown
from fixtures.command_line import run as opkit_says

import opkit
from opkit.assimilate import (
    ETKF,
    LETKF,
    Filter,
    Grid,
    Observation,
    OptimalInterpolation,
    ThreeDVar,
    assimilate,
    at_points,
    every,
    gaspari_cohn,
    linear,
    observe_with,
    solver_step,
    surrogate_step,
    twin,
)
from opkit.assimilate.filters import rotation
from opkit.assimilate.observations import ErrorCovariance
from opkit.case import load_case
from opkit.errors import FilterDivergedError, NonFiniteError, OpkitInputError

BUNDLE = Path(__file__).parents[1] / "data/golden/bundles/fno-rolling-burgers"
RING = Grid((np.arange(12.0),), (12.0,))
SQUARE = Grid((np.arange(6.0), np.arange(8.0)), (6.0, 8.0))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def analysed(
    filter: Filter,
    ensemble: np.ndarray,
    values: np.ndarray,
    observation: Observation,
    errors: float | np.ndarray,
) -> np.ndarray:
    cov = ErrorCovariance(errors, len(values))
    return filter.analyse(ensemble, values, observation, cov, rng())


def lorenz(states: np.ndarray) -> np.ndarray:
    """Lorenz-96, F = 8, one Runge-Kutta step of 0.05."""

    def rate(x: np.ndarray) -> np.ndarray:
        before, ahead = np.roll(x, 1, -1), np.roll(x, -1, -1)
        slope: np.ndarray = (ahead - np.roll(x, 2, -1)) * before - x + 8
        return slope

    k1 = rate(states)
    k2 = rate(states + 0.025 * k1)
    k3 = rate(states + 0.025 * k2)
    k4 = rate(states + 0.05 * k3)
    ahead: np.ndarray = states + 0.05 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return ahead


@cache
def lorenz_climate() -> np.ndarray:
    """1200 states of 40 trajectories on the attractor."""
    states = 8 + rng().standard_normal((40, 40))
    climate = []
    for i in range(500):
        states = lorenz(states)
        if i >= 200 and i % 10 == 0:
            climate.append(states)
    return np.concatenate(climate)


def lorenz_error(
    make: Callable[[np.ndarray], Filter], members: int, cycles: int
) -> float:
    """RMSE of a filter in the set-up of Sakov and Oke (2008): all seen, variance 1."""
    draw, climatology = rng(), lorenz_climate()
    state = climatology[-1]
    ensemble = state + draw.standard_normal((members, 40))
    truth = np.empty((cycles, 40))
    for i in range(cycles):
        truth[i] = state = lorenz(state)
    grid = Grid((np.arange(40.0),), (40.0,))
    seen = truth + draw.standard_normal(truth.shape)
    run = assimilate(lorenz, make(climatology), ensemble, seen, every(1, grid), 1.0)
    error = np.sqrt(((run.states["mean"].values - truth) ** 2).mean(1))
    return float(error[cycles // 10 :].mean())


@pytest.mark.parametrize("filter", [ETKF(), LETKF(radius=1e8)], ids=["etkf", "letkf"])
def test_the_kalman_filter_of_the_sample_covariance(filter: Filter) -> None:
    """Without localisation and inflation mean and covariance are Kalman's, exactly."""
    ensemble = rng().standard_normal((7, 12)) @ np.diag(np.linspace(0.5, 2, 12))
    observation = every(3, RING)
    values = np.array([1.0, -0.5, 0.3, 2.0])
    errors = np.array([0.5, 1.0, 2.0, 0.1])
    result = analysed(filter, ensemble, values, observation, errors)
    h = np.eye(12)[::3]
    mean, p = ensemble.mean(0), np.cov(ensemble.T)
    gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + np.diag(errors))
    np.testing.assert_allclose(
        result.mean(0), mean + gain @ (values - h @ mean), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        np.cov(result.T), (np.eye(12) - gain @ h) @ p, rtol=0, atol=1e-12
    )


def test_correlated_errors_in_the_etkf() -> None:
    ensemble, observation = rng().standard_normal((9, 12)), every(6, RING)
    r, values = np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([0.4, -1.0])
    result = analysed(ETKF(), ensemble, values, observation, r)
    h = np.eye(12)[::6]
    mean, p = ensemble.mean(0), np.cov(ensemble.T)
    gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
    np.testing.assert_allclose(
        result.mean(0), mean + gain @ (values - h @ mean), rtol=0, atol=1e-12
    )


def test_three_d_var_is_the_minimum_with_many_or_few_observations() -> None:
    climatology, background = rng().standard_normal((30, 12)), np.ones((1, 12))
    b = 0.3 * np.cov(climatology.T)
    for matrix in (np.eye(12)[:2], rng().standard_normal((40, 12))):
        observation, values = linear(matrix, RING), rng().standard_normal(len(matrix))
        result = analysed(
            ThreeDVar(climatology, 0.3), background, values, observation, 0.5
        )
        gain = (
            b
            @ matrix.T
            @ np.linalg.inv(matrix @ b @ matrix.T + 0.5 * np.eye(len(matrix)))
        )
        expected = background[0] + gain @ (values - matrix @ background[0])
        np.testing.assert_allclose(result[0], expected, rtol=0, atol=1e-10)


def test_gaspari_and_cohn() -> None:
    np.testing.assert_allclose(
        gaspari_cohn([0, 1, 2, 3], 1.0), [1, 5 / 24, 0, 0], rtol=0, atol=1e-15
    )
    r = np.linspace(0, 2.5, 2001)
    weight = gaspari_cohn(3 * r, 3.0)
    assert (np.diff(weight) <= 1e-15).all() and (weight >= 0).all()
    assert abs(np.diff(weight)).max() < 2e-3  # no jump where the pieces meet


def test_far_observations_do_not_reach() -> None:
    ensemble = rng().standard_normal((5, 2, 6, 8))  # two layers
    observation = at_points([[1.0, 1.0]], SQUARE)
    values = np.full(2, 3.0)  # of both layers
    result = analysed(LETKF(radius=1.0), ensemble, values, observation, 0.1)
    change = abs(result - ensemble).max((0, 1))
    apart = SQUARE.distances(np.array([[1.0, 1.0]])).reshape(6, 8)
    assert (change[apart >= 2] < 1e-12).all() and (change[apart < 2] > 0).all()
    assert apart.max() == pytest.approx(np.hypot(3, 4))  # around the torus
    # as one point of both layers, observed alone
    alone = observe_with(lambda u: u[..., 1, 1].reshape(len(u), -1), SQUARE)
    near = analysed(ETKF(rotate=False), ensemble, values, alone, 0.1)
    np.testing.assert_allclose(result[..., 1, 1], near[..., 1, 1], rtol=0, atol=1e-12)


def test_rotations_keep_mean_and_covariance() -> None:
    turn, anomalies = rotation(6, rng()), rng().standard_normal((6, 4))
    anomalies -= anomalies.mean(0)
    np.testing.assert_allclose(turn @ turn.T, np.eye(6), rtol=0, atol=1e-14)
    turned = turn @ anomalies
    assert abs(turned - anomalies).max() > 0.1
    assert abs(turned.sum(0)).max() < 1e-13
    np.testing.assert_allclose(turned.T @ turned, anomalies.T @ anomalies, atol=1e-13)


def test_inflation_scales_the_spread_alone() -> None:
    ensemble, values = rng().standard_normal((5, 12)), np.zeros(12)
    plain, wide = (
        analysed(ETKF(a, rotate=False), ensemble, values, every(1, RING), 1.0)
        for a in (1.0, 1.5)
    )
    np.testing.assert_allclose(wide.mean(0), plain.mean(0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(wide.std(0), 1.5 * plain.std(0), rtol=1e-12)


def test_observing_between_grid_points() -> None:
    y, x = np.meshgrid(*SQUARE.axes, indexing="ij")
    plane = (2 * y - 3 * x + 1)[None]
    seen = at_points([[1.25, 2.5], [4.0, 6.75]], SQUARE)(plane)
    np.testing.assert_allclose(seen, [[2.5 - 7.5 + 1, 8 - 20.25 + 1]], atol=1e-12)
    wave = np.arange(12.0)[None]
    np.testing.assert_allclose(at_points([11.5], RING)(wave), [[5.5]])  # 11 and 0
    open_line = Grid((np.linspace(0, 1, 5),))
    assert at_points([1.0], open_line)(np.arange(5.0)[None])[0, 0] == 4
    assert every([2, 4], SQUARE)(plane).shape == (1, 6)


@pytest.mark.parametrize(
    ("make", "members", "expected"),
    [
        (lambda c: ETKF(1.013), 24, 0.18),
        (lambda c: LETKF(4 * 1.82, 1.04, rotate=True), 7, 0.22),
        (lambda c: ThreeDVar(c, 0.02), 1, 0.41),
        (lambda c: OptimalInterpolation(c), 1, 0.95),
    ],
    ids=["etkf", "letkf", "3dvar", "oi"],
)
def test_lorenz_96(
    make: Callable[[np.ndarray], Filter], members: int, expected: float
) -> None:
    """RMSE as DAPPER expects them, within 15 % for runs as short as this."""
    assert lorenz_error(make, members, 300) == pytest.approx(expected, rel=0.15)


def test_gaps_and_times() -> None:
    step, ensemble = (lambda u: 0.5 * u), rng().standard_normal((4, 12))
    values = np.full((3, 12), np.nan)
    values[2, ::2] = 0.0
    times = xr.DataArray(values, dims=("time", "place"), coords={"time": [2.0, 4, 6]})
    run = assimilate(step, ETKF(), ensemble, times, every(1, RING), 1.0)
    assert run.states["time"].values.tolist() == [2, 4, 6]
    mean = run.states["mean"]
    np.testing.assert_allclose(mean[1], ensemble.mean(0) / 4, rtol=1e-12)
    expected = analysed(ETKF(), ensemble / 8, values[2], every(1, RING), 1.0)
    np.testing.assert_allclose(mean[2], expected.mean(0), rtol=0, atol=1e-14)
    assert np.isnan(run.states["innovation"][:2]).all()
    turned = assimilate(step, ETKF(), ensemble, times.T, every(1, RING), 1.0)
    assert (turned.states["mean"].values == mean.values).all()


def test_divergence_is_said_with_its_cycle() -> None:
    """Seven members without inflation lose Lorenz-96 soon."""
    draw, state = rng(), lorenz_climate()[-1]
    ensemble = state + 0.3 * draw.standard_normal((5, 40))
    seen = np.empty((150, 40))
    for i in range(len(seen)):
        state = lorenz(state)
        seen[i] = state + draw.standard_normal(40)
    everything = every(1, Grid((np.arange(40.0),), (40.0,)))
    with pytest.raises(FilterDivergedError, match=r"diverged at cycle \d+ \(time"):
        assimilate(lorenz, ETKF(), ensemble, seen, everything, 1.0)
    run = assimilate(lorenz, ETKF(), ensemble, seen, everything, 1.0, keep_going=True)
    assert run.diverged is not None and 29 <= run.diverged < 100


def refused(message: str, **changes: object) -> None:
    arguments = {
        "step": lambda u: u,
        "filter": ETKF(),
        "ensemble": rng().standard_normal((4, 12)),
        "observations": np.zeros((2, 12)),
        "observation": every(1, RING),
        "errors": 1.0,
    }
    with pytest.raises((OpkitInputError, NonFiniteError), match=message) as caught:
        assimilate(**{**arguments, **changes})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_is_refused() -> None:
    refused("ensemble of 1", ensemble=np.zeros((1, 12)))
    refused(r"shape \(4, 11\): give", ensemble=np.zeros((4, 11)))
    refused("not finite", ensemble=np.full((4, 12), np.nan))
    refused("variance 0: .* positive definite", errors=0.0)
    refused("one variance, one for each", errors=np.ones(3))
    skew = np.eye(12)
    skew[0, 1] = 0.5
    refused("not symmetric", errors=skew)
    refused("eigenvalue -1", errors=np.diag([-1.0, *[1.0] * 11]))
    refused("12 observations at a time, .* gives 6", observation=every(2, RING))
    refused("infinite", observations=np.full((2, 12), np.inf))
    refused("shape", observations=np.zeros(12))
    refused("member 0 at cycle 0", step=lambda u: u * np.nan)
    refused("keeps the shape", step=lambda u: u[:2])
    refused("errors have shape", model_errors=np.zeros((3, 11)))
    refused("model errors are not finite", model_errors=np.full((3, 12), np.nan))
    large = ThreeDVar(rng().standard_normal((5, 12)), 1e308)
    with pytest.warns(RuntimeWarning):
        refused("analysis of cycle 0", filter=large)
    flat = observe_with(lambda u: u.reshape(len(u), -1), RING)
    refused("where observations lie", filter=LETKF(1.0), observation=flat)
    refused("errors of their own", filter=LETKF(1.0), errors=np.eye(12))
    states = rng().standard_normal((5, 12))
    bent = observe_with(lambda u: u**2, RING)
    refused("linear observation", filter=ThreeDVar(states), observation=bent)
    for wrong in (
        lambda: ETKF(0.5),
        lambda: LETKF(0.0),
        lambda: ThreeDVar(states, -1.0),
        lambda: OptimalInterpolation(states[:1]),
        lambda: at_points([13.0], RING),
        lambda: at_points([[1.0, 2.0]], RING),
        lambda: every(0, RING),
        lambda: linear(np.zeros((2, 5)), RING),
        lambda: linear(np.eye(12), RING, places=np.full(12, -1.0)),
        lambda: Grid((np.array([1.0, 0.0]),)),
        lambda: Grid((np.arange(4.0),), (1.0,)),
    ):
        with pytest.raises(OpkitInputError):
            wrong()


def test_a_solver_and_a_surrogate_as_models() -> None:
    """The surrogate of a case on its own grid; where it may be off the solver steps."""
    surrogate = opkit.load(BUNDLE)
    changes = ("resolution=32", "solver.parameters.record_interval=0.2")
    case = load_case("burgers", changes)
    ensemble = rng().standard_normal((3, 1)) * np.sin(2 * np.pi * np.arange(32) / 32)
    exact = solver_step(case)(ensemble)
    guess = surrogate_step(BUNDLE)(ensemble)
    frames = surrogate.rollout(ensemble[:, None, None].astype(np.float32), 1)
    assert (guess == frames[:, 0, 0]).all()
    either = surrogate_step(surrogate, tolerance=0)(ensemble)
    np.testing.assert_allclose(either, exact, rtol=0, atol=1e-5)  # float32, rtol 1e-6
    assert abs(guess - exact).max() > 1e-3  # it was hardly trained
    with pytest.raises(OpkitInputError, match="fixed number of steps"):
        solver_step(case, steps=2)
    with pytest.raises(OpkitInputError, match=r"steps of 0\.2 .* every 0\.5"):
        surrogate.config = surrogate.config.model_copy(update={"time_step": 0.2})
        surrogate_step(surrogate, interval=0.5)
    with pytest.raises(OpkitInputError, match="does not evolve"):
        solver_step(load_case("darcy"))


def test_a_twin_experiment() -> None:
    """Chaos with every second point seen; the filter halves the error of the floor."""
    case = load_case(
        "kuramoto-sivashinsky",
        (
            "resolution=64",
            "solver.parameters.length=22",
            "solver.parameters.record_interval=1",
            "solver.parameters.records=1",
            "solver.parameters.spin_up=30",
            "solver.parameters.tail=0.1",
            "solver.parameters.rtol=1e-2",
        ),
    )
    experiment = twin(
        case, lambda g: every(2, g), cycles=60, members=10, noise=0.5, steps=4
    )
    assert experiment.interval == 1 and experiment.grid.periods == (22.0,)
    run = experiment.run(ETKF(1.05), seed=3)
    floor = experiment.run(OptimalInterpolation(experiment.climatology))
    rmse = experiment.scores(run)["rmse"]
    assert rmse < 0.5 * experiment.scores(floor)["rmse"]
    assert rmse < 0.2 * experiment.climatological_error
    again = experiment.run(ETKF(1.05), seed=3)
    assert (again.states["mean"].values == run.states["mean"].values).all()
    assert run.diverged is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filter", "n", "members", "cycles", "expected"),
    [
        (ETKF(1.03), 1, 20, 3000, 0.115),
        (LETKF(25, 1.06), 1, 6, 1000, 0.14),
        (LETKF(25 / 1.82, 1.05), 2, 20, 1000, 0.22),
        (LETKF(25 / 1.82, 1.05), 4, 20, 1000, 0.5),
        (ETKF(1.03), 4, 20, 1000, None),
    ],
)
def test_reference_figures_of_kuramoto_sivashinsky(
    filter: ETKF | LETKF, n: int, members: int, cycles: int, expected: float | None
) -> None:
    """128 points on 32π, all or some seen with variance 1; radius in grid points."""
    spacing = 32 * np.pi / 128
    if isinstance(filter, LETKF):
        filter = LETKF(filter.radius * spacing, filter.inflation)
    case = load_case("kuramoto-sivashinsky-32pi")
    experiment = twin(
        case, lambda g: every(n, g), cycles=cycles, members=members, noise=1, steps=2
    )
    if expected is None:
        with pytest.raises(FilterDivergedError):
            experiment.run(filter)
        return
    rmse = experiment.scores(experiment.run(filter))["rmse"]
    assert rmse == pytest.approx(expected, rel=0.1)


def test_the_command(tmp_path: Path, capsys: Shown) -> None:
    made = tmp_path / "made.nc"
    words = "assimilate kuramoto-sivashinsky --cycles 3 --members 4 --steps 2 --json"
    small = [
        word
        for change in (
            "resolution=32",
            "solver.parameters.length=22",
            "solver.parameters.spin_up=0",
            "solver.parameters.records=1",
        )
        for word in ("--set", change)
    ]
    said = json.loads(
        opkit_says(
            capsys, *words.split(), *small, "--every", 4, "--noise", 0.1, "-o", made
        )
    )
    labels = [row["estimate"] for row in said["rows"]]
    assert labels == ["climatology", "optimal interpolation", "letkf"]
    with xr.open_dataset(made, engine="h5netcdf") as states:
        assert dict(states.sizes) == {
            "time": 3, "x": 32, "observation": 8, "place": 8, "axis": 1
        }  # fmt: skip
        error = states["mean"] - states["truth"]
        rmse = np.sqrt((error**2).mean("x")).values
        assert said["rows"][2]["RMSE"] == pytest.approx(rmse.mean())
        assert states["time"].values.tolist() == pytest.approx([0.2, 0.4, 0.6])
    for more, message in (
        (("-o", made), "exists already"),
        (("--filter", "letk"), "Did you mean 'letkf'"),
        (("--members", 1), "ensemble of 1"),
        (("--at", 99), "outside of the domain"),
        (("--at", "a"), "write numbers"),
        (("--noise", 0), "has to be positive"),
        (("--tolerance", 1), "--run"),
    ):
        assert message in opkit_says(capsys, *words.split(), *small, *more, code=2)


@pytest.mark.slow
def test_two_layers_of_eddies() -> None:
    """Localised in two dimensions and in both layers, a tenth of climatology."""
    case = load_case(
        "quasi-geostrophic",
        (
            "resolution=32", "solver.parameters.extent=[5e5, 5e5]",
            "solver.parameters.record_interval=86400", "solver.parameters.rtol=1e-4",
            "distribution.grid=32", "distribution.spin_up=1.555e8",
        ),
    )  # fmt: skip
    eddies = twin(
        case, lambda grid: every(2, grid), cycles=20, members=20, climatology=40,
        initial_error=0.3,
    )  # fmt: skip
    run = eddies.run(LETKF(6e4, 1.1))
    error = np.sqrt(((run.states["mean"].values - eddies.truth)[-1] ** 2).mean())
    # 0.08 over 100 cycles
    assert error < 0.2 * eddies.climatological_error
    assert run.states["mean"].dims == ("time", "layer", "y", "x")
