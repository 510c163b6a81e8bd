"""Missing terms are found with their coefficients; what cannot be asked is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.command_line import Shown
from fixtures.command_line import run as opkit_says
from fixtures.training import write_file

from opkit.case import load_case
from opkit.case.data import header_of
from opkit.discover import discover, relevance_vectors, spectral_library
from opkit.discover.increments import _weights
from opkit.errors import NonFiniteError, OpkitInputError
from opkit.solvers.semilinear import Semilinear

CASES = [
    (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1),
    (0.5, 1, 1), (1, 0.5, 1), (1, 1, 0.5), (2, 2, 2), (0, 0.5, 2), (0.5, 0, 1),
]  # fmt: skip
"""Factors of u u_x, u_xx and u_xxxx in the wrong models of the published cases."""


def ks(
    points: int, length: float, factors: tuple[float, ...], interval: float
) -> Semilinear:
    return Semilinear(
        resolution=(points,),
        length=length,
        convection=factors[0],
        diffusion=-factors[1],
        hyperdiffusion=factors[2],
        record_interval=interval,
    )


def attractor(points: int, length: float, lines: int, times: int) -> np.ndarray:
    """States of Kuramoto-Sivashinsky, ten time units apart, from time 100 on."""
    x = length * np.arange(points) / points
    waves = np.arange(1, lines + 1)[:, None]
    wave = 2 * np.pi * x / length
    u = -np.cos(wave) * (1 - np.sin(wave)) + 0.01 * np.sin(waves * wave)
    march, states = ks(points, length, (1, 1, 1), 1.0).forecast(8), []
    for i in range(100 + 10 * times):
        u = march(u)
        if i >= 100 and i % 10 == 9:
            states.append(u)
    return np.concatenate(states)


def check_cases(
    points: int, length: float, states: np.ndarray, cases: list[tuple[float, ...]]
) -> None:
    interval = 0.005
    after = ks(points, length, (1, 1, 1), interval).forecast(4)(states)
    library = spectral_library((length * np.arange(points) / points,), (length,))
    assert len(library) == 24
    for case in cases:
        model = ks(points, length, case, interval).forecast(4)
        found = discover(model, states, after, interval, library)
        missing = {
            name: have - 1
            for name, have in zip(("u u_x", "u_xx", "u_xxxx"), case, strict=True)
            if have != 1
        }
        assert {t.name for t in found.terms} == missing.keys(), case
        for term in found.terms:
            # half a percent is asked for; exact but for the O(Δ²) of the nonlinearity
            assert term.coefficient == pytest.approx(missing[term.name], rel=2e-3)
            assert term.error < 2e-3


def test_published_cases_of_one_two_and_three_terms() -> None:
    states = attractor(128, 50.0, 4, 2)
    check_cases(128, 50.0, states, [CASES[0], CASES[9], CASES[10]])


@pytest.mark.slow
def test_all_published_cases() -> None:
    check_cases(256, 100.0, attractor(256, 100.0, 5, 4), CASES)


def test_series_of_the_functions_of_exponential_integrators() -> None:
    """Against ϕ₁, ϕ₂ themselves, where X = 1 − exp(z) is 0.3."""
    z = np.log(0.7)
    one = (np.exp(z) - 1) / z
    two = (one - 1) / z
    powers = 0.3 ** np.arange(13)
    first, second = _weights(12)
    assert first @ powers == pytest.approx(one - two, abs=1e-8)  # 0.3^13
    assert second @ powers == pytest.approx(two, abs=1e-8)


def test_a_linear_black_box_is_corrected_to_the_order_of_the_series() -> None:
    """u' = −3 u + 2 u with a model that knows −3 u alone, and steps as long as 0.2."""
    rng, interval = np.random.default_rng(0), 0.2
    u = rng.standard_normal((4, 8))
    after = np.exp(-1 * interval) * u
    found = discover(
        lambda v: np.exp(-3 * interval) * v, u, after, interval, {"u": lambda v: v}
    )
    plain = discover(
        lambda v: np.exp(-3 * interval) * v,
        u,
        after,
        interval,
        {"u": lambda v: v},
        corrections=0,
    )
    # φ(u(t + sΔ)) is taken as linear in s: Δ²/12 of its curvature remains
    assert found.terms[0].coefficient == pytest.approx(2, rel=5e-3)
    assert abs(plain.terms[0].coefficient - 2) > 0.5


def test_a_model_that_lacks_nothing() -> None:
    u = np.random.default_rng(0).standard_normal((3, 16))
    found = discover(lambda v: 0.5 * v, u, 0.5 * u, 0.1, {"u": lambda v: v})
    assert found.terms == () and found.increment == 0


def test_the_library_in_two_dimensions() -> None:
    y, x = 2 * np.pi * np.arange(8) / 8, 4 * np.pi * np.arange(16) / 16
    library = spectral_library((y, x), (2 * np.pi, 4 * np.pi), powers=1, derivatives=2)
    assert set(library) == {
        "u", "u_x", "u_y", "u_xx", "u_xy", "u_yy",
        "u u_x", "u u_y", "u u_xx", "u u_xy", "u u_yy",
    }  # fmt: skip
    u = (np.sin(y)[:, None] * np.cos(x / 2)[None])[None]
    exact = -0.5 * np.cos(y)[:, None] * np.sin(x / 2)[None]
    np.testing.assert_allclose(library["u_xy"](u)[0], exact, rtol=0, atol=1e-14)
    np.testing.assert_allclose(library["u u_yy"](u), -(u**2), rtol=0, atol=1e-14)


def test_relevance_vectors_with_noise() -> None:
    """Two of thirty columns; the standard errors are those of least squares."""
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((400, 30)) * np.logspace(-2, 2, 30)
    target = 3 * columns[:, 4] - 0.02 * columns[:, 20]
    target += 0.1 * target.std() * rng.standard_normal(400)
    found = relevance_vectors(columns, target)
    weights = dict(zip(found.chosen.tolist(), found.weights, strict=True))
    assert {4, 20} <= weights.keys() and len(weights) <= 12  # some by chance
    for column, true in ((4, 3.0), (20, -0.02)):
        error = found.errors[found.chosen.tolist().index(column)]
        assert abs(weights[column] - true) < 4 * error < 0.1 * abs(true)


def test_what_is_refused() -> None:
    u = np.random.default_rng(0).standard_normal((3, 8))
    plain = {"u": lambda v: v}
    for message, arguments in (
        ("give the same", (lambda v: v, u, u[:2], 0.1, plain)),
        ("sample 1 is not finite", (lambda v: v, u, _spoilt(u), 0.1, plain)),
        ("interval 0", (lambda v: v, u, u, 0.0, plain)),
        ("no terms", (lambda v: v, u, u, 0.1, {})),
        ("more samples or fewer", (lambda v: v, u[:1, :1], u[:1, :1], 0.1, plain)),
        ("has to keep", (lambda v: v[:1], u, u + 1, 0.1, plain)),
        ("sample 0: a shorter", (lambda v: v * np.nan, u, u, 0.1, plain)),
        ("term z .* is zero", (lambda v: v, u, u + 1, 0.1, {"z": lambda v: 0 * v})),
    ):
        with pytest.raises((OpkitInputError, NonFiniteError), match=message) as caught:
            discover(*arguments)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(OpkitInputError, match="equally spaced"):
        spectral_library((np.array([0.0, 1, 3, 4]),), (5.0,))


def _spoilt(u: np.ndarray) -> np.ndarray:
    bad = u.copy()
    bad[1, 2] = np.nan
    return bad


def test_the_command(capsys: Shown) -> None:
    words = "discover advection-diffusion --pairs 4 --powers 1"
    words += " --set resolution=32 --derivatives 3"
    said = opkit_says(
        capsys, *words.split(), "--wrong", "solver.parameters.diffusion=0.005", "--json"
    )
    found = json.loads(said)
    assert [term["name"] for term in found["terms"]] == ["u_xx"]
    assert found["terms"][0]["coefficient"] == pytest.approx(0.005, rel=2e-3)
    right = opkit_says(
        capsys, *words.split(), "--wrong", "solver.parameters.diffusion=0.01"
    )
    assert "none of the 7 terms" in right
    bad = opkit_says(capsys, *words.split(), "--wrong", "resolution=16", code=2)
    assert "another grid" in bad


def trajectories(path: Path) -> Path:
    """Twenty short trajectories of Kuramoto-Sivashinsky as a data file."""
    case = load_case(
        "kuramoto-sivashinsky",
        ("resolution=128", "solver.parameters.record_interval=0.005",
         "solver.parameters.records=3", "samples.train=20", "samples.validation=0",
         "samples.test=0"),
    )  # fmt: skip
    solver = case.build_solver()
    u = attractor(128, 64.0, 10, 2)
    march, frames = ks(128, 64.0, (1, 1, 1), 0.005).forecast(4), []
    for _ in range(3):
        frames.append(march(frames[-1] if frames else u))
    header = header_of(case, solver, 0, None, "float64")
    return write_file(path, header, {"initial_state": u, "state": np.stack(frames, 1)})


def test_a_data_file_and_a_model_of_ones_own(tmp_path: Path, capsys: Shown) -> None:
    data, own = trajectories(tmp_path / "ks.h5"), tmp_path / "own.py"
    own.write_text(
        "from opkit.solvers.semilinear import Semilinear\n"
        "def step(u):\n"
        "    return Semilinear(resolution=(128,), length=64.0, diffusion=-1.0,\n"
        "        hyperdiffusion=1.0, record_interval=0.005).forecast(4)(u)\n"
    )
    words = ("discover", data, "--pairs", 10, "--json")
    said = opkit_says(capsys, *words, "--model", f"{own}:step")
    (term,) = json.loads(said)["terms"]
    assert term["name"] == "u u_x"
    assert term["coefficient"] == pytest.approx(-1, rel=5e-3)
    wrong = ("--wrong", "solver.parameters.diffusion=-0.5", "--steps", 4)
    (term,) = json.loads(opkit_says(capsys, *words, *wrong))["terms"]
    assert term["name"] == "u_xx"
    assert term["coefficient"] == pytest.approx(-0.5, rel=5e-3)
    for options, message in (
        ((), "no model: give --model"),
        (("--model", "own.py"), "write it as FILE.py:FUNCTION"),
        (("--model", f"{tmp_path}/none.py:step"), "there is no file"),
        (("--model", f"{own}:stop"), "no function 'stop'"),
        (("--model", f"{own}:step", *wrong), "give one of them"),
        ((*wrong, "--interval", 1), "a data file has its own records"),
    ):
        assert message in opkit_says(capsys, *words, *options, code=2)
    own.write_text("1 / 0")
    bad = opkit_says(capsys, *words, "--model", f"{own}:step", code=2)
    assert "failed: ZeroDivisionError" in bad
