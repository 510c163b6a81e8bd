"""Poisson on a square less corners: accuracy, sizes of its parts, seconds a sample.

    python -m benchmarks.solvers_elliptic_boundary

Accuracy is the largest error against u = sin(2x + 1) e^y + x y² on a square less four
corners of sides in quarters. Sizes are root mean squares over the cells inside of the
potential and of its two parts, of the source with zero data and of the data with zero
source, over 100 samples of the case's laws. Seconds are medians of single solves, the
check of the residual included; the peer is scipy's ``spsolve`` as it comes, without
that check.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import spsolve

from opkit.solvers.elliptic_boundary.curve import trace
from opkit.solvers.elliptic_boundary.finite_volumes import System
from opkit.solvers.elliptic_boundary.laws import Condition, CornerCuts
from opkit.solvers.elliptic_boundary.solver import EllipticBoundary

CONDITIONS: tuple[Condition, ...] = ("dirichlet", "neumann", "mixed")
QUARTERS = np.array([[0, 0, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 0]], bool)


def exact(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sin(2 * x + 1) * np.exp(y) + x * y**2


def largest_error(cells: int, condition: Condition) -> float:
    """Against the manufactured solution."""
    inside = np.kron(QUARTERS, np.ones((cells // 4,) * 2, bool))
    places = trace(inside).places(cells)
    x, y = places["boundary_x"], places["boundary_y"]
    u_x = 2 * np.cos(2 * x + 1) * np.exp(y) + y**2
    u_y = np.sin(2 * x + 1) * np.exp(y) + 2 * x * y
    q = places["normal_x"] * u_x + places["normal_y"] * u_y
    kind = {"dirichlet": x < 0, "neumann": x >= 0, "mixed": x > 0.5}[condition]
    centres = (np.arange(cells) + 0.5) / cells
    cx, cy = np.meshgrid(centres, centres)
    fields = places | {
        "source": -3 * np.sin(2 * cx + 1) * np.exp(cy) + 2 * cx,
        "inside": inside.astype(float),
        "boundary_kind": kind.astype(float),
        "boundary_value": np.where(kind, q, exact(x, y)),
    }
    solver = EllipticBoundary(resolution=(cells, cells), compatibility=1e-2)
    inputs = {name: field[None] for name, field in fields.items()}
    error = solver.solve(inputs).outputs["potential"][0] - exact(cx, cy)
    if condition == "neumann":
        error -= error[inside].mean()
    return float(np.abs(error[inside]).max())


def batch(solver: EllipticBoundary, count: int) -> dict[str, np.ndarray]:
    drawn = [solver.sample(np.random.default_rng([0, i])) for i in range(count)]
    return {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}


def sizes(corners: int, condition: Condition) -> tuple[float, float, float]:
    """Root mean squares of u, of its part from f, and of its part from g or q."""
    law = CornerCuts(corners=corners, condition=condition)
    solver = EllipticBoundary(resolution=(32, 32), distribution=law)
    inputs = batch(solver, 100)
    u = solver.solve(inputs).outputs["potential"]
    free = inputs["boundary_kind"].all(1, keepdims=True)
    total = inputs["source"].sum((1, 2))[:, None] / 32**2
    flux = total / 4  # what the source asks of pure Neumann data
    even = np.where(free, flux, 0.0 * inputs["boundary_value"])
    of_source = solver.solve(inputs | {"boundary_value": even}).outputs["potential"]
    inside = inputs["inside"] > 0
    rms = [
        float(np.sqrt(np.mean(p[inside] ** 2))) for p in (u, of_source, u - of_source)
    ]
    return rms[0], rms[1], rms[2]


def seconds(run: Callable[[int], object], count: int) -> float:
    times = []
    for i in range(count):
        start = time.perf_counter()
        run(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def speed(cells: int, count: int) -> None:
    """One row of the table of times."""
    solver = EllipticBoundary(resolution=(cells, cells))
    draw = seconds(lambda i: solver.sample(np.random.default_rng([1, i])), count)
    inputs = batch(solver, count)
    ours = seconds(
        lambda i: solver.solve({k: v[[i]] for k, v in inputs.items()}), count
    )
    systems = []
    for i in range(count):
        inside = inputs["inside"][i] > 0
        system = System(inside, trace(inside), inputs["boundary_kind"][i] > 0)
        source, value = inputs["source"][i], inputs["boundary_value"][i]
        systems.append((system.matrix, system.right_side(source, value)[0]))
    plain = seconds(lambda i: spsolve(*systems[i]), count)
    print(f"| {cells} | {1e3 * draw:.1f} | {1e3 * ours:.1f} | {1e3 * plain:.1f} |")


def main() -> None:
    """Print three tables."""
    print("| largest error | 16 | 32 | 64 | 128 | order |\n|---|---|---|---|---|---|")
    for condition in CONDITIONS:
        errors = [largest_error(cells, condition) for cells in (16, 32, 64, 128)]
        order = np.log2(errors[-2] / errors[-1])
        cells = " | ".join(f"{e:.1e}" for e in errors)
        print(f"| {condition} | {cells} | {order:.2f} |")
    print("\n| data | corners | u | from f | from g, q |\n|---|---|---|---|---|")
    for condition in CONDITIONS:
        for corners in (4, 0):
            row = " | ".join(f"{s:.2f}" for s in sizes(corners, condition))
            print(f"| {condition} | {corners} | {row} |")
    print(f"\nload {os.getloadavg()[0]:.1f}; milliseconds a sample, four corners\n")
    print("| cells | draw | solve and check | spsolve alone |\n|---|---|---|---|")
    for cells, count in ((32, 100), (64, 40), (128, 10)):
        speed(cells, count)


if __name__ == "__main__":
    main()
