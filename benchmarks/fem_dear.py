"""Nonlinear problems on varying shapes: a cold solve, one from a guess, a coarse one.

    OMP_NUM_THREADS=1 python benchmarks/fem_dear.py [--samples 5] [--problems NAME ...]

Medians over the samples, in seconds of processor time. The guess is the solution with a
smooth relative error of 1 % in L2, in all fields; "no p" leaves the pressure out,
"gain" is cold over 1 % off. "cascade" starts from the solution on half the cells, which
its time contains. The last columns are the cheapest solve of a ladder whose median
error against the problem's own mesh is at most 1 %, in displacement or velocity:
coarser meshes and looser tolerances. Every time includes moving the mesh, stresses and
quantities; building the mesh and compiling the forms, once for a mesh, is left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from opkit.solvers.fem.cascade import solve_from_coarse
from opkit.solvers.fem.quads.fields import relative_l2
from opkit.solvers.fem.quads.solution import GridSolution
from opkit.solvers.hyperelastic.cell import HyperelasticCell
from opkit.solvers.hyperelastic.cell_strain import HyperelasticCellStrain
from opkit.solvers.steady_flow.channel_bumps import ChannelBumps
from opkit.solvers.steady_flow.pipe import Pipe

CLOCK = time.process_time  # seconds of this process: other load counts less
Solver = HyperelasticCell | HyperelasticCellStrain | ChannelBumps | Pipe

CELLS = [(2, 12), (2, 16), (3, 20), (4, 24), (4, 32), (6, 32), (6, 40)]
CHANNELS = [(24, 6), (32, 8), (48, 8), (48, 12), (64, 12), (80, 14), (96, 16)]
PIPES = [(8, 4), (12, 4), (16, 6), (24, 8), (32, 12), (48, 16)]

PROBLEMS: dict[str, tuple[Solver, dict, list[tuple[int, int]]]] = {
    "cell, stress, 100": (HyperelasticCell(traction=100.0), {}, CELLS),
    "cell, stress, 4e4": (HyperelasticCell(), {}, CELLS),
    "cell, strain, 1.7": (HyperelasticCellStrain(), {"stretch": 1.7}, CELLS),
    "cell, strain, 0.85": (HyperelasticCellStrain(), {"stretch": 0.85}, CELLS),
    "cell, strain, 1.7, fine": (
        HyperelasticCellStrain(resolution=(16, 80)),
        {"stretch": 1.7},
        CELLS,
    ),
    "pipe, 0.25": (Pipe(), {}, PIPES),
    "pipe, 1": (Pipe(inlet=1.0), {}, PIPES),
    "channel, Re 400": (ChannelBumps(), {"reynolds": 400.0}, CHANNELS),
    "channel, Re 400, fine": (
        ChannelBumps(resolution=(192, 32)),
        {"reynolds": 400.0},
        CHANNELS,
    ),
}


def main_fields(solution: GridSolution) -> np.ndarray:
    names = [n for n in solution.fields if n.startswith(("displacement", "velocity"))]
    return np.stack([solution.fields[name] for name in names])


def guess(solution: GridSolution, size: float) -> dict[str, np.ndarray]:
    x, y = solution.points.T
    wave = np.sin(3 * x + 1) * np.cos(4 * y)
    return {
        name: field
        * (
            1
            + size
            * wave
            / (np.linalg.norm(field * wave) or 1.0)
            * np.linalg.norm(field)
        )
        for name, field in solution.fields.items()
    }


def timed(
    call: Callable[..., GridSolution], *arguments: object
) -> tuple[float, GridSolution]:
    start = CLOCK()
    solution = call(*arguments)
    return CLOCK() - start, solution


def coarse(solver: Solver, ladder: list, samples: list, exact: list) -> str:
    """The cheapest solve with a median error of at most 1 %."""
    best = (np.inf, "none")
    for resolution in ladder:
        for tolerance in (1e-8, 1e-3, 1e-2):
            cheap = replace(solver, resolution=resolution, tolerance=tolerance)
            cheap.solve_one(samples[0])
            times, errors = [], []
            for sample, truth in zip(samples, exact, strict=True):
                seconds, solution = timed(cheap.solve_one, sample)
                fields = cheap.grid.interpolate(main_fields(solution), solver.grid)
                times.append(seconds)
                errors.append(
                    relative_l2(solver.grid, truth.points, fields, main_fields(truth))
                )
            error, median = float(np.median(errors)), float(np.median(times))
            if error <= 0.01 and median < best[0]:
                mesh = f"{resolution[0]}x{resolution[1]} {tolerance:.0e}"
                best = (median, f"{median:7.3f} {100 * error:5.2f} %  {mesh}")
    return best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    arguments = parser.parse_args()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    threads = os.environ.get("OMP_NUM_THREADS", "not limited")
    print(f"threads {threads}, load {load}; seconds, linear solves/factorisations")
    print(
        f"{'problem':24s} {'unknowns':>8s} {'cold':>14s} {'cascade':>8s}"
        f" {'1 % off':>13s} {'no p':>13s} {'gain':>5s} {'coarse':>7s} {'error':>7s}"
    )
    for name in arguments.problems:
        solver, fixed, ladder = PROBLEMS[name]
        rng = np.random.default_rng(1)
        extra = {key: np.array(value) for key, value in fixed.items()}
        samples = [{**solver.sample(rng), **extra} for _ in range(arguments.samples)]
        solver.solve_one(samples[0])
        rows: list[list[tuple[float, GridSolution]]] = []
        for sample in samples:
            cold = timed(solver.solve_one, sample)
            off = guess(cold[1], 0.01)
            warm = timed(solver.solve_one, sample, off)
            short = {key: value for key, value in off.items() if key != "pressure"}
            bare = timed(solver.solve_one, sample, short)
            half = (solver.resolution[0] // 2, solver.resolution[1] // 2)
            cascade = timed(solve_from_coarse, solver, sample, half)
            rows.append([cold, cascade, warm, bare])
        cells, medians = [], []
        for column in zip(*rows, strict=True):
            medians.append(float(np.median([seconds for seconds, _ in column])))
            solves = np.median([s.linear_solves for _, s in column])
            factors = np.median([s.factorisations for _, s in column])
            cells.append(f"{medians[-1]:7.3f} {solves:2.0f}/{factors:<2.0f}")
        last = rows[-1][0][1]
        pressures = (solver.resolution[0] + 1) * (
            solver.resolution[1] + (not solver.grid.periodic)
        )
        unknowns = 2 * len(last.points) + ("pressure" in last.fields) * pressures
        print(
            f"{name:24s} {unknowns:8d} {cells[0]:>14s} {cells[1][:7]:>8s}"
            f" {cells[2]:>13s} {cells[3]:>13s}"
            f" {medians[0] / medians[2]:5.1f} "
            + coarse(solver, ladder, samples, [row[0][1] for row in rows]),
            flush=True,
        )


if __name__ == "__main__":
    main()
