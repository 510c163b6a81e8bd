"""Spin-up and accuracy of the eddy configuration on 64 x 64 points.

python benchmarks/solvers_quasi_geostrophic_accuracy.py

Prints rms velocities during the spin-up; then errors after some days (relative L2 of q)
against a run of small steps: tolerances of etdrk4; scheme pyqg, against the filter rate
of 3600 s; the integrating-factor method IFRK4 and ETDRK4 at fixed steps.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from opkit.solvers.qg_diagnostics import kinetic_energy_spectrum
from opkit.solvers.qg_reference import Tendency
from opkit.solvers.quasi_geostrophic import QuasiGeostrophic
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


def last(made: QuasiGeostrophic, q: np.ndarray) -> tuple[np.ndarray, float]:
    solution = made.solve({INITIAL: q[None]})
    return solution.outputs["potential_vorticity"][0, -1], solution.error[0]


def distance(q: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(q - exact) / np.linalg.norm(exact))


def main() -> None:
    made = solver(30, records=24)
    q = made.sample(np.random.default_rng(0))[INITIAL]
    fields = made.solve({INITIAL: q[None]}).outputs["potential_vorticity"][0]
    for month in (1, 4, 7, 10, 13, 16, 19, 22, 24):
        kinetic = kinetic_energy_spectrum(made.model(), fields[month - 1])
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


if __name__ == "__main__":
    main()
