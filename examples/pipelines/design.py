"""Three bumps of a given area that cost the least pressure: every step solved again.

    minimise J(h, w) = ∫ p(inlet) - p(outlet) dy   subject to   32/35 Σ h_i w_i >= A

at one Reynolds number and fixed places. The surrogate proposes, the solver decides
(`opkit.optimise`). Beside it, on the solver alone: SLSQP with gradients by differences,
and the same search without a surrogate.

    python examples/pipelines/design.py RUN
"""

import sys
import time

import numpy as np
import torch
from scipy.optimize import Bounds, minimize

import opkit
from opkit.optimise import minimise, minimise_function

PLACES, REYNOLDS, AREA = (1.5, 3.7, 5.9), 300.0, 0.4
FIXED = {"places": PLACES, "reynolds": REYNOLDS}
VARY = {"heights": None, "widths": None}  # as far as the case's laws reach


def drop(outputs, inputs):
    """J of pressures (y, x), a tensor: nodes are even at both ends."""
    pressure = outputs["pressure"]
    ends = pressure[:, 0] - pressure[:, -1]
    return (ends[1:] + ends[:-1]).mean() / 2


def spare(numbers):
    """Area of the bumps beyond the one that is asked for."""
    return 32 / 35 * numbers["heights"] @ numbers["widths"] - AREA


def main(run, budget=50, rivals=True):
    """Return name to (J by the solver, solves, seconds), and the best design."""
    surrogate = opkit.load(run)
    own = surrogate.context.case_solver
    sides = [own.case.parameters[name].support for name in VARY]
    low, high = (np.concatenate([s[k] * np.ones(3) for s in sides]) for k in (0, 1))
    rows = {}

    begin = time.perf_counter()
    best = minimise(surrogate, drop, VARY, FIXED, constraint=spare, budget=budget)
    seconds = time.perf_counter() - begin
    rows["surrogate, solved again"] = best.value, best.solves, seconds
    if not rivals:
        return rows, best

    solves = []

    def alone(z):
        """J of heights z[:3] and widths z[3:] by the solver."""
        solves.append(z)
        z = np.clip(z, low, high)
        inputs = {**FIXED, "heights": z[:3], "widths": z[3:]}
        solved = own.solver.solve({name: np.array([a]) for name, a in inputs.items()})
        return float(
            drop({"pressure": torch.tensor(solved.outputs["pressure"][0])}, {})
        )

    def area(z):
        return spare({"heights": z[:3], "widths": z[3:]})

    begin, middle = time.perf_counter(), (low + high) / 2
    found = minimize(
        alone,
        middle,
        method="SLSQP",
        bounds=Bounds(low, high),
        constraints={"type": "ineq", "fun": area},
        options={"ftol": 1e-6, "eps": 1e-4},  # the solver's rtol is 1e-8
    )
    seconds = time.perf_counter() - begin
    rows["solver, by differences"] = found.fun, len(solves), seconds
    begin, limit = time.perf_counter(), 4 * len(solves)
    polled = minimise_function(
        alone, None, low, high, constraint=area, budget=limit, tolerance=1e-2
    )
    seconds = time.perf_counter() - begin
    rows["solver, by polls"] = polled.value, polled.evaluations, seconds
    return rows, best


if __name__ == "__main__":
    rows, best = main(sys.argv[1])
    for name, (value, count, seconds) in rows.items():
        print(f"{name:>24}: J {value:.5f}, {count} solves, {seconds:.1f} s")
    heights, widths = (best.inputs[name].round(3) for name in VARY)
    print(f"heights {heights}, widths {widths}; predicted {best.predicted:.5f}")
