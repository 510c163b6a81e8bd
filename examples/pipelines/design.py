"""Three bumps of a given area that cost the least pressure: every step solved again.

    minimise J(h, w) = ∫ p(inlet) - p(outlet) dy   subject to   32/35 Σ h_i w_i >= A

at one Reynolds number and fixed places. The surrogate proposes the best shape in a box
around the best solved one, corrected by what the solver said so far (Broyden's update
of the gradient of solver minus surrogate); the solver decides, and the box grows or
shrinks. Beside it: the same minimiser on the solver, by differences.

    python examples/pipelines/design.py RUN
"""

import sys
import time

import numpy as np
import torch
from scipy.optimize import Bounds, minimize

import opkit
from opkit.case.record import parse_case

PLACES, REYNOLDS, AREA = (1.5, 3.7, 5.9), 300.0, 0.4
MARGIN = 1e-4


def drop(pressure):
    """J of pressures (batch, y, x), numpy or torch: nodes are even at both ends."""
    ends = pressure[:, :, 0] - pressure[:, :, -1]
    return (ends[:, 1:] + ends[:, :-1]).mean(1) / 2


def query(z, as_array=np.asarray):
    """The bumps with heights z[:3] and widths z[3:], for solver or surrogate."""
    rows = {"places": as_array([PLACES]), "reynolds": as_array([REYNOLDS])}
    return {**rows, "heights": z[None, :3], "widths": z[None, 3:]}


def main(run, steps=20, rival=True):
    """Return name to (J by the solver, solves, seconds), and the heights and widths."""
    surrogate = opkit.load(run)
    case = parse_case(surrogate.config.case)
    solver, laws = case.build_solver(), case.parameters
    sides = [laws[name].support for name in ("heights", "widths")]
    low, high = (np.concatenate([s[k] * np.ones(3) for s in sides]) for k in (0, 1))
    area = {"type": "ineq", "fun": lambda z: 32 / 35 * z[:3] @ z[3:] - AREA}
    area["jac"] = lambda z: 32 / 35 * np.concatenate([z[3:], z[:3]])
    solves = []

    def solved(z):
        solves.append(z)
        outputs = solver.solve(query(np.clip(z, low, high))).outputs
        return float(drop(outputs["pressure"])[0])

    def predicted(z):
        z = torch.tensor(z, dtype=torch.float32, requires_grad=True)
        value = drop(surrogate(query(z, torch.tensor))["pressure"])[0]
        return float(value.detach()), torch.autograd.grad(value, z)[0].numpy().astype(
            float
        )

    def search(function, start, radius=np.inf, jac=True):
        bounds = Bounds(
            np.maximum(low, start - radius), np.minimum(high, start + radius)
        )
        options = {"bounds": bounds, "constraints": area, "options": {"ftol": 1e-6}}
        if jac == "2-point":
            options["options"]["eps"] = 1e-4  # the solver's rtol is 1e-8
        return minimize(function, start, jac=jac, method="SLSQP", **options)

    start = (low + high) / 2
    begin = time.perf_counter()
    best, value, radius, correction = start, solved(start), 0.2 * (high - low), 0.0
    for _ in range(steps):

        def corrected(z, slope=correction):
            guess, gradient = predicted(z)
            return guess + np.sum(slope * z), gradient + slope

        new = search(corrected, best, radius).x
        expected = corrected(best)[0] - corrected(new)[0]
        if expected < MARGIN * value:
            break
        solver_value = solved(new)
        move = new - best
        missed = solver_value - value + expected  # what Broyden's update makes up for
        correction = correction + missed * move / (move @ move)
        if solver_value < value:
            best, value, radius = new, solver_value, 1.5 * radius
        else:
            radius = radius / 3
    seconds = time.perf_counter() - begin
    rows = {"surrogate, solved again": (value, len(solves), seconds)}
    if rival:
        solves.clear()
        begin = time.perf_counter()
        alone = search(solved, start, jac="2-point").x
        count, seconds = len(solves), time.perf_counter() - begin
        rows["solver, by differences"] = solved(alone), count, seconds
    return rows, best, start


if __name__ == "__main__":
    rows, best, start = main(sys.argv[1])
    for name, (value, count, seconds) in rows.items():
        print(f"{name:>24}: J {value:.5f}, {count} solves, {seconds:.1f} s")
    print(f"heights {best[:3].round(3)}, widths {best[3:].round(3)}")
