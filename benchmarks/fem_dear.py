"""Nonlinear problems on varying shapes: a cold solve, one from a guess, a cheap one.

    OMP_NUM_THREADS=1 python -m benchmarks.fem_dear [--samples 5] [--problems NAME ...]

Means over the samples, drawn from the case's laws, in seconds of processor time, with
linear solves / factorisations. "cascade" starts from the solution on half the cells,
which its time contains. The guesses are the solution with a smooth relative error of
1 % and 0.3 % in L2, in all fields; "no p" leaves the pressure out of the first. "cold
over" is cold over 0.3 % off, and cascade over it. The last columns are the cheapest
rung of `Ladder.cheaper` whose median error against the solve is at most 1 %, in
displacement or velocity. Every time includes moving the mesh, stresses, quantities and
prolongation; building a mesh and compiling the forms, once for a mesh, is left out.

With --finer the error of the solve itself is measured, against twice the cells.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from opkit.case import laws, load_case
from opkit.errors import SolverError
from opkit.solvers.fem.quads.fields import relative_l2
from opkit.solvers.fem.quads.ladder import Cheaper
from opkit.solvers.fem.quads.solver import GridSolver
from opkit.solvers.interface import Fields, Solution, Solver

CLOCK = time.process_time  # seconds of this process: other load counts less

PROBLEMS = {
    "cell, stress, 100": ("hyperelastic-cell-published", ()),
    "cell, stress, 4e4": ("hyperelastic-cell", ()),
    "cell, strain": ("hyperelastic-cell-strain", ()),
    "cell, strain, 1.7": (
        "hyperelastic-cell-strain",
        ("parameters.stretch.low=1.6999",),
    ),
    "cell, strain, coarse": ("hyperelastic-cell-strain", ("resolution=[17, 80]",)),
    "pipe, 0.25": ("pipe", ()),
    "pipe, 1": ("pipe-fast", ()),
    "channel": ("channel-bumps", ()),
    "channel, Re 400": ("channel-bumps", ("parameters.reynolds.low=399.9",)),
}


def main_fields(solver: GridSolver, solution: Solution) -> np.ndarray:
    """Displacement or velocity of one sample (2, node)."""
    fields = [solution.outputs[name] for name in solver.state if name != "pressure"]
    return np.concatenate([solver.in_order(field) for field in fields])


def guess(outputs: Fields, points: np.ndarray, size: float) -> Fields:
    x, y = np.moveaxis(points, -1, 0)
    wave = np.sin(3 * x + 1) * np.cos(4 * y)
    return {
        name: field
        * (1 + size * wave / np.linalg.norm(field * wave) * np.linalg.norm(field))
        for name, field in outputs.items()
    }


class Clocked:
    """Times and counts of one kind of solve."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.counts: list[tuple[float, float]] = []

    def run(
        self, solver: Solver, inputs: Fields, start: Fields | None = None
    ) -> Solution:
        """Solve one sample."""
        begin = CLOCK()
        if start is None:
            solution = solver.solve(inputs)
        else:
            solution = solver.solve_from(inputs, start)  # type: ignore[attr-defined]
        self.seconds.append(CLOCK() - begin)
        details = solution.details
        self.counts.append((details["linear_solves"][0], details["factorisations"][0]))
        return solution

    @property
    def mean(self) -> float:
        """Seconds."""
        return float(np.mean(self.seconds))

    def __str__(self) -> str:
        solves, factors = np.mean(self.counts, axis=0)
        return f"{self.mean:7.3f} {solves:4.1f}/{factors:<4.1f}"


def error(
    solver: GridSolver, inputs: Fields, found: Solution, exact: Solution
) -> float:
    points = np.moveaxis(solver.points(inputs)[0], -1, 0)
    nodes = solver.in_order(points).T
    u, v = main_fields(solver, found), main_fields(solver, exact)
    return relative_l2(solver.grid, nodes, u, v)


def cheapest(solver: GridSolver, samples: list, exact: list) -> str:
    """The cheapest rung with a median error of at most 1 %."""
    best = (np.inf, "none")
    for label, rung in solver.cheaper():
        clock = Clocked()
        try:
            rung.solve(samples[0])
            errors = [
                error(solver, inputs, clock.run(rung, inputs), truth)
                for inputs, truth in zip(samples, exact, strict=True)
            ]
        except SolverError:
            continue
        worst = float(np.median(errors))
        if worst <= 0.01 and clock.mean < best[0]:
            best = (clock.mean, f"{clock.mean:7.4f} {100 * worst:5.2f} %  {label}")
    return best[1]


def finer(solver: GridSolver, inputs: Fields) -> float:
    cells = 2 * solver.grid.first, 2 * solver.grid.second
    large = type(solver)(
        **{**vars(solver), "resolution": solver.with_cells(cells), "rtol": 1e-6}
    )
    found = Cheaper(large, solver).solve(inputs)
    return error(large, inputs, found, large.solve(inputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--finer", action="store_true")
    arguments = parser.parse_args()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    threads = os.environ.get("OMP_NUM_THREADS", "not limited")
    print(f"threads {threads}, load {load}; seconds, linear solves/factorisations")
    print(
        f"{'problem':22s} {'unknowns':>8s} {'cold':>17s} {'cascade':>8s}"
        f" {'1 % off':>17s}"
        f" {'0.3 % off':>17s} {'no p':>17s} {'cold over':>9s} {'cheapest':>8s} error"
    )
    for name in arguments.problems:
        case_name, settings = PROBLEMS[name]
        case = load_case(case_name, settings)
        solver = case.build_solver()
        assert isinstance(solver, GridSolver)
        samples = [
            {k: v[None] for k, v in laws.draw(case.parameters, "random", 1, i).items()}
            for i in range(arguments.samples)
        ]
        start = solver.cheaper()[0][1]  # from half the cells
        start.solve(samples[0])
        solver.solve(samples[0])
        cold, cascade, far, near, bare = (Clocked() for _ in range(5))
        exact = []
        for inputs in samples:
            exact.append(cold.run(solver, inputs))
            cascade.run(start, inputs)
            points = solver.points(inputs)
            off = guess(exact[-1].outputs, points, 0.01)
            far.run(solver, inputs, off)
            near.run(solver, inputs, guess(exact[-1].outputs, points, 0.003))
            short = {key: value for key, value in off.items() if key != "pressure"}
            bare.run(solver, inputs, short)
        grid = solver.grid
        pressures = (grid.first + 1) * (grid.second + (not grid.periodic))
        unknowns = 2 * np.prod(solver.resolution)
        unknowns += ("pressure" in solver.state) * pressures
        print(
            f"{name:22s} {unknowns:8d} {cold!s:>17s} {cascade.mean:8.3f} {far!s:>17s}"
            f" {near!s:>17s} {bare!s:>17s} {cold.mean / near.mean:4.1f}"
            f" {cascade.mean / near.mean:4.1f} " + cheapest(solver, samples, exact),
            flush=True,
        )
        if arguments.finer:
            errors = [finer(solver, inputs) for inputs in samples]
            print(f"    error of the solve itself: {100 * np.median(errors):.3f} %")


if __name__ == "__main__":
    main()
