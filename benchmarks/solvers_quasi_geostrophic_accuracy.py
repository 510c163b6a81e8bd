"""Spin-up and accuracy of the eddy configuration on 64 x 64 points.

python benchmarks/solvers_quasi_geostrophic_accuracy.py [growth]

Prints rms velocities during the spin-up; then errors after some days (relative L2 of q)
against a run of small steps: tolerances of etdrk4; scheme pyqg, against the filter rate
of 3600 s; the integrating-factor method IFRK4 and ETDRK4 at fixed steps. With
``growth``: how fast twin runs of the eddy and jet configurations part.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from opkit.solvers.quasi_geostrophic.arrays import Tendency
from opkit.solvers.quasi_geostrophic.diagnostics import kinetic_energy_spectrum
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic
from opkit.solvers.steppers import ETDRK4, IFRK4

DAY = 86400.0
WAVES = {"kind": "random-waves", "rms": 3e-6}
INITIAL = "initial_potential_vorticity"


def solver(days: float, records: int = 1, **changes: Any) -> QuasiGeostrophic:
    return QuasiGeostrophic(
        resolution=(64, 64),
        distribution=WAVES,
        record_interval=days * DAY,
        records=records,
        **changes,
    )


def last(flow: QuasiGeostrophic, q: np.ndarray) -> tuple[np.ndarray, float]:
    solution = flow.solve({INITIAL: q[None]})
    return solution.outputs["potential_vorticity"][0, -1], solution.error[0]


def distance(q: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(q - exact) / np.linalg.norm(exact))


def main() -> None:
    flow = solver(30, records=24)
    q = flow.sample(np.random.default_rng(0))[INITIAL]
    fields = flow.solve({INITIAL: q[None]}).outputs["potential_vorticity"][0]
    for month in (1, 4, 7, 10, 13, 16, 19, 22, 24):
        kinetic = kinetic_energy_spectrum(flow.model(), fields[month - 1])
        speeds = np.sqrt(2 * kinetic.sum(axis=(-2, -1)))
        print(f"month {month:3d}: rms velocity {speeds[0]:.4f}, {speeds[1]:.4f} m/s")
    q = fields[-1]

    for days in (5, 20):
        exact, _ = last(solver(days, rtol=1e-9), q)
        for rtol in (1e-4, 1e-5, 1e-6, 1e-7):
            begin = time.perf_counter()
            end, estimate = last(solver(days, rtol=rtol), q)
            seconds = time.perf_counter() - begin
            print(
                f"{days} days, etdrk4, rtol {rtol:.0e}: {distance(end, exact):.1e} "
                f"(estimate {estimate:.1e}), {seconds:.3f} s"
            )
        for dt in (7200.0, 3600.0, 900.0):
            end, _ = last(solver(days, scheme="pyqg", time_step=dt), q)
            print(f"{days} days, pyqg, {dt:g} s: {distance(end, exact):.1e}")

    model = solver(2).model()
    tendency = Tendency(model, 1)
    start = model.kept * np.fft.rfft2(q)[None]

    def fixed(method: Any, dt: float) -> np.ndarray:
        step = method.prepare(model.log_filter / 3600.0, dt, tendency)
        state = start
        for _ in range(round(2 * DAY / dt)):
            state = step(state)
        return state

    exact_hat = fixed(ETDRK4, 450.0)
    for method in (IFRK4, ETDRK4):
        for dt in (14400.0, 7200.0, 3600.0, 1800.0):
            error = distance(fixed(method, dt), exact_hat)
            print(f"2 days, {method.name}, steps of {dt:g} s: {error:.1e}")


def growth() -> None:
    """Print d ln|difference| / d∫rms(ζ₁)dt of twin runs, days 50 to 395."""
    jet = {"drag": 7e-8, "depth_ratio": 0.1, "beta": 1e-11}
    for name, changes in (("eddy", {}), ("jet", jet)):
        flow = QuasiGeostrophic(
            resolution=(64, 64), record_interval=5 * DAY, records=80, **changes
        )
        q, other = (flow.sample(np.random.default_rng(i))[INITIAL] for i in (0, 2))
        twins = flow.solve({INITIAL: np.stack([q, q + 1e-9 * other])}).outputs
        one, two = twins["potential_vorticity"]
        psi_hat = np.fft.rfft2(twins["streamfunction"][0, :, 0])
        vorticity = np.fft.irfft2(-flow.model().kappa2 * psi_hat, (64, 64))
        turnover = 5 * DAY * np.cumsum(np.sqrt((vorticity**2).mean((1, 2))))
        apart = np.array([distance(a, b) for a, b in zip(two, one, strict=True)])
        rate = np.log(apart[-1] / apart[10]) / (turnover[-1] - turnover[10])
        print(f"{name}: growth rate {rate:.3f} rms(relative vorticity)")


if __name__ == "__main__":
    growth() if sys.argv[1:] == ["growth"] else main()
