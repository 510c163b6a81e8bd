"""Seconds and errors of every way `opkit solve` could answer, on one thread.

    python benchmarks/solve.py [--steps 500] [--lbfgs 300] [--problems 256]
        [--repeats 3] [--only many elliptic heat]

First one elliptic and one parabolic problem with closed forms, then many problems at
once, which the network reads in one batch. Seconds are CPU seconds with the evaluation
on 65 x 65 nodes, medians of the repeats (of one where it is fitted); errors are
relative L2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu, spsolve

from opkit.case import load_case
from opkit.hypino import PDE
from opkit.hypino.weights import SHIPPED, load
from opkit.hypino.written import answer
from opkit.operators.hypino.target import Target
from opkit.solvers.linear_pde.reference import refer, solve_once
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.solvers.manufactured.problems import draw_problems

ELLIPTIC = PDE(
    "u_xx + u_yy + u = f",
    "u = sin(2*x + y)*cos(y) on all",
    "-5*sin(2*x + y)*cos(y) - 2*cos(2*x + y)*sin(y)",
)
HEAT = PDE(
    "u_y - 0.2*u_xx = 0",
    "u = 0 on left, right; u = sin(pi*(x + 1)/2) on bottom",
)
AXIS = np.linspace(-1, 1, 65)
X, Y = np.meshgrid(AXIS, AXIS)
EXACT = {
    "elliptic": np.sin(2 * X + Y) * np.cos(Y),
    "heat": np.sin(np.pi * (X + 1) / 2) * np.exp(-0.05 * np.pi**2 * (Y + 1)),
}


def five_point(c, source: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """Central differences on n x n nodes; u as given on the rim of `boundary`."""
    n = len(source)
    h = 2 / (n - 1)
    one, m = np.ones(n), sparse.identity(n)
    slope = sparse.diags([-one[1:], one[1:]], [-1, 1]) / (2 * h)
    bend = sparse.diags([one[1:], -2 * one, one[1:]], [-1, 0, 1]) / h**2
    matrix = (
        c[0] * sparse.identity(n * n)
        + sparse.kron(m, c[1] * slope + c[3] * bend)
        + sparse.kron(c[2] * slope + c[4] * bend, m)
    ).tocsr()
    inner = np.zeros((n, n), dtype=bool)
    inner[1:-1, 1:-1] = True
    inner = inner.ravel()
    u = np.where(inner, 0.0, boundary.ravel())
    right = (source.ravel() - matrix @ u)[inner]
    u[inner] = spsolve(matrix[inner][:, inner].tocsc(), right)
    return u.reshape(n, n)


def crank_nicolson(n: int) -> np.ndarray:
    """The heat problem on n x n nodes, second order in both directions."""
    h = 2 / (n - 1)
    x = np.linspace(-1, 1, n)[1:-1]
    one = np.ones(n - 2)
    bend = 0.2 * sparse.diags([one[1:], -2 * one, one[1:]], [-1, 0, 1]) / h**2
    factors = splu((sparse.identity(n - 2) - h / 2 * bend).tocsc())
    u = np.zeros((n, n))
    u[0, 1:-1] = np.sin(np.pi * (x + 1) / 2)
    for k in range(n - 1):
        now = u[k, 1:-1]
        u[k + 1, 1:-1] = factors.solve(now + h / 2 * (bend @ now))
    return u


def timed(run: Callable[[], np.ndarray], times: int) -> tuple[float, np.ndarray]:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        field = run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), field


def one_problem(name: str, arguments: argparse.Namespace, model) -> None:
    problem = ELLIPTIC if name == "elliptic" else HEAT
    exact = EXACT[name]
    x, y = X.ravel(), Y.ravel()

    def cheap(n: int) -> np.ndarray:
        if name == "heat":
            field = crank_nicolson(n)
        else:
            px, py = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
            data = problem.conditions()["left"][0][1](px, py, np)
            source = problem.linear.source(px, py, np)
            field = five_point(problem.linear.coefficients, source, data)
        return field[:: (n - 1) // 64, :: (n - 1) // 64]

    def network(rounds: int, steps: int = 0, lbfgs: int = 0) -> np.ndarray:
        return answer(problem, model, rounds, steps, lbfgs, 0).jet(x, y)[0]

    scheme = "five-point" if name == "elliptic" else "Crank-Nicolson"
    rows: dict[str, Callable[[], np.ndarray]] = {
        **{
            f"elements, {n} cells": lambda n=n: solve_once(problem, n).values(x, y)
            for n in (16, 36, 81)
        },
        "elements, with estimate": lambda: refer(problem, largest=81).values(x, y),
        **{f"{scheme} {n} x {n}": lambda n=n: cheap(n) for n in (65, 129, 257)},
        "network, zero-shot": lambda: network(0),
        **{f"network, {k} refinements": lambda k=k: network(k) for k in (2, 10)},
        f"network, {arguments.steps} + {arguments.lbfgs} steps": lambda: network(
            0, arguments.steps, arguments.lbfgs
        ),
    }
    print(f"\n{name}: {problem.equation}, {problem.boundary}\n")
    print("| answer | CPU seconds | relative L2 |\n|---|---|---|")
    for label, run in rows.items():
        seconds, field = timed(run, 1 if "steps" in label else arguments.repeats)
        off = np.linalg.norm(field.reshape(65, 65) - exact) / np.linalg.norm(exact)
        print(f"| {label} | {seconds:.2g} | {off:.1e} |", flush=True)


def many_problems(count: int, repeats: int, model) -> None:
    n = model.options.resolution
    law = ManufacturedDistribution.model_validate(
        load_case("manufactured").recipes["hypino"].stream["distribution"]
    ).model_copy(
        update={
            "elliptic": 1.0, "parabolic": 0.0, "hyperbolic": 0.0, "neumann": 0.0,
            "max_holes": 0, "corners": 0.0, "series": 0.0,
        }
    )  # fmt: skip
    generator = torch.Generator().manual_seed(10_000)
    p = draw_problems(count, law, (n, n), (8, 8), generator)
    exact = p.solution_grid.numpy()
    axis = torch.linspace(-1, 1, n)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(
        1, -1, 2
    )
    points = points.expand(count, -1, 2)

    def network() -> np.ndarray:
        with torch.no_grad():
            return model.solve(p).value(points).reshape(exact.shape).numpy()

    def with_slopes() -> np.ndarray:
        with torch.no_grad():
            return model.solve(p).jet(points)[0].reshape(exact.shape).numpy()

    def by_coefficients() -> np.ndarray:
        c = p.coefficients.clone().requires_grad_()
        target = Target.from_tensors(model(c, p.grids))
        middle = points.new_zeros(count, 1, 2)
        u = target.value(middle)
        torch.autograd.grad(u.sum(), c)
        with torch.no_grad():
            return target.value(points).reshape(exact.shape).numpy()

    def differences() -> np.ndarray:
        grids = p.grids.double().numpy()
        c = p.coefficients.double().numpy()
        return np.stack(
            [five_point(c[k], grids[k, 4], grids[k, 2]) for k in range(count)]
        )

    print(f"\n{count} elliptic problems on the square, {n} x {n} nodes each\n")
    print(
        "| answer | CPU milliseconds per problem | median relative L2 |\n|---|---|---|"
    )
    for label, run in {
        "network, one batch, u": network,
        "network, and u_x, u_y, u_xx, u_yy": with_slopes,
        "network, and the slope of u(0, 0) in the coefficients": by_coefficients,
        f"five-point {n} x {n}, one by one": differences,
    }.items():
        seconds, fields = timed(run, repeats)
        off = np.linalg.norm(fields - exact, axis=(1, 2))
        relative = np.median(off / np.linalg.norm(exact, axis=(1, 2)))
        print(f"| {label} | {1e3 * seconds / count:.2g} | {relative:.1e} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lbfgs", type=int, default=300)
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    names = ("many", *EXACT)
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"threads 1, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    model = load(SHIPPED)
    if "many" in arguments.only:
        many_problems(arguments.problems, arguments.repeats, model)
    for name in EXACT:
        if name in arguments.only:
            one_problem(name, arguments, model)


if __name__ == "__main__":
    main()
