"""What spectral solvers cut off an initial field counts in the error and residual."""

import numpy as np
import pytest
from pydantic import ValidationError

from opkit.solvers.burgers import Burgers
from opkit.solvers.fourier.band import share_outside, square_band
from opkit.solvers.navier_stokes.solver import NavierStokes
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic

X = np.arange(64) / 64


def wave(number: int) -> np.ndarray:
    """cos(2π k x), (64, 64), constant along y."""
    return np.broadcast_to(np.cos(2 * np.pi * number * X), (64, 64)).copy()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_share_of_a_sum_of_waves(scale: float) -> None:
    """|3 cos 30x| of |4 cos 5x + 3 cos 30x| is 3/5; the constant is never cut."""
    band = square_band((64, 64), 21)
    both = scale * (4 * wave(5) + 3 * wave(30))
    fields = np.stack([both, both.T, 0 * both, scale + 0 * both, scale * wave(21)])
    share = share_outside(fields, band)
    np.testing.assert_allclose(share, [0.6, 0.6, 0, 0, 0], atol=1e-14)  # rounding


def test_navier_stokes_says_that_it_lost_a_wave() -> None:
    """cos(60πx) decays to exp(-ν (60π)² t), about 0.70; the solver drops it."""
    flow = NavierStokes(
        viscosity=1e-4, records=1, record_interval=0.1, resolution=(64, 64)
    )
    inputs = {"initial_vorticity": wave(30)[None]}
    exact = np.exp(-1e-4 * (60 * np.pi) ** 2 * 0.1) * wave(30)[None, None]
    solution = flow.solve(inputs)
    wrong = np.linalg.norm(solution.outputs["vorticity"] - exact)
    assert solution.error[0] >= wrong / np.linalg.norm(exact) - 1e-12  # both are 1
    assert flow.residual(inputs, solution.outputs)[0] == pytest.approx(1)
    kept = flow.solve({"initial_vorticity": wave(20)[None]})
    assert kept.error[0] < 1e-5  # rtol
    whole = NavierStokes(
        viscosity=1e-4, records=1, record_interval=0.1, resolution=(64, 64),
        scheme="fno-2020",
    ).solve(inputs)  # fmt: skip
    np.testing.assert_allclose(whole.outputs["vorticity"], exact, atol=1e-6)  # dt²
    assert whole.error[0] < 1e-6


def test_burgers_says_that_it_lost_a_wave() -> None:
    burgers = Burgers(viscosity=0.01, resolution=(64,), record_interval=0.001)
    start = np.stack([np.sin(2 * np.pi * X) + 0.1 * np.cos(2 * np.pi * 30 * X)])
    inputs = {"initial_velocity": start}
    solution = burgers.solve(inputs)
    share = 0.1 / np.sqrt(1.01)
    assert solution.error[0] == pytest.approx(share, rel=1e-4)
    assert burgers.residual(inputs, solution.outputs)[0] == pytest.approx(share)


@pytest.mark.parametrize(("dealias", "number"), [(True, 25), (False, 32)])
def test_quasi_geostrophic_says_that_it_lost_a_wave(dealias: bool, number: int) -> None:
    flow = QuasiGeostrophic(
        resolution=(64, 64), record_interval=3600.0, records=1, dealias=dealias
    )
    start = np.stack([1e-6 * wave(3) + 1e-6 * wave(number), 0 * wave(3)])
    share = np.linalg.norm(wave(number)) / np.linalg.norm(wave(3) + wave(number))
    inputs = {"initial_potential_vorticity": start[None]}
    solution = flow.solve(inputs)
    assert solution.error[0] == pytest.approx(share, rel=1e-3)
    assert flow.residual(inputs, solution.outputs)[0] == pytest.approx(share)


def test_forcing_that_the_grid_does_not_keep_is_refused() -> None:
    """Beyond 2/3 of the wavenumbers it was dropped; beyond all, it is another one."""
    common = {"viscosity": 0.1, "records": 1, "length": 2 * np.pi}
    for wavenumber in (11, 14, 33):
        force = {"kind": "kolmogorov", "amplitude": 1.0, "wavenumber": wavenumber}
        with pytest.raises(
            ValidationError,
            match=f"forcing has the wavenumber {wavenumber}, .*up to 10",
        ):
            NavierStokes(resolution=(32, 32), forcing=force, **common)
    force = {"kind": "kolmogorov", "amplitude": 1.0, "wavenumber": 10}
    NavierStokes(resolution=(32, 32), forcing=force, **common)
