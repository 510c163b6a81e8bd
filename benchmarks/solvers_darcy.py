"""Darcy flow on the grid: seconds per sample and accuracy, against pyamg and SuperLU.

    OMP_NUM_THREADS=1 python benchmarks/solvers_darcy.py [--nodes 421] [--repeats 7]
    python benchmarks/solvers_darcy.py --accuracy

The peers get the matrix for nothing; ours includes assembly, setup and the check of the
residual. Every round times all solvers once on one sample, in turn; the table shows
medians over the rounds. Errors are relative L2 distances to SuperLU's solution of the
same equations, worst of the rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import pyamg
from scipy import sparse
from scipy.sparse.linalg import spsolve

from opkit.solvers.darcy.five_point import assemble
from opkit.solvers.darcy.solver import Darcy
from opkit.solvers.laws.permeability import LogNormal, TwoPhase


def matrix(a: np.ndarray) -> sparse.csr_matrix:
    system = assemble(a, "harmonic")
    columns, size = system.diagonal.shape[1], system.diagonal.size
    east = system.west_east[:, 1:].copy()
    east[:, -1] = 0
    e, n = -east.ravel()[:-1], -system.south_north[1:-1].ravel()
    return sparse.diags_array(
        [system.diagonal.ravel(), e, e, n, n],
        offsets=[0, 1, -1, columns, -columns],
        shape=(size, size),
    ).tocsr()


def ours(n: int, preconditioner: str, rtol: float) -> Callable[..., np.ndarray]:
    solver = Darcy(resolution=(n, n), rtol=rtol, preconditioner=preconditioner)

    def solve(a: np.ndarray, A: sparse.csr_matrix) -> np.ndarray:
        outputs = solver.solve({"permeability": a[None]}).outputs
        return outputs["pressure"][0, 1:-1, 1:-1].ravel()

    return solve


def ruge_stuben(a: np.ndarray, A: sparse.csr_matrix) -> np.ndarray:
    hierarchy = pyamg.ruge_stuben_solver(A)
    return hierarchy.solve(np.ones(A.shape[0]), tol=1e-8, accel="cg")


def superlu(a: np.ndarray, A: sparse.csr_matrix) -> np.ndarray:
    return spsolve(A.tocsc(), np.ones(A.shape[0]))


def speed(n: int, repeats: int, contrast: float) -> None:
    solvers: dict[str, Callable[..., np.ndarray]] = {
        "scipy spsolve (SuperLU, COLAMD)": superlu,
        "pyamg ruge_stuben + CG, tol 1e-8": ruge_stuben,
        "opkit sine, rtol 1e-8": ours(n, "sine", 1e-8),
        "opkit multigrid, rtol 1e-8": ours(n, "multigrid", 1e-8),
        "opkit multigrid, rtol 1e-10": ours(n, "multigrid", 1e-10),
    }
    law = TwoPhase(low=12 / contrast, high=12)
    warm = law.draw(np.random.default_rng(0), (n, n))
    for solve in solvers.values():
        solve(warm, matrix(warm))
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    errors: dict[str, list[float]] = {name: [] for name in solvers}
    for i in range(repeats):
        a = law.draw(np.random.default_rng(np.random.SeedSequence([0, i])), (n, n))
        A = matrix(a)
        exact = None
        for name, solve in solvers.items():
            start = time.perf_counter()
            p = solve(a, A)
            seconds[name].append(time.perf_counter() - start)
            exact = p if exact is None else exact
            errors[name].append(np.linalg.norm(p - exact) / np.linalg.norm(exact))
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    best = medians["opkit multigrid, rtol 1e-8"]
    print(f"\n{n} x {n} nodes, contrast {contrast:g}, medians of {repeats}")
    print(f"{'solver':36s} {'s/sample':>9s} {'error':>8s} {'/ ours':>7s}")
    for name, median in medians.items():
        print(f"{name:36s} {median:9.4f} {max(errors[name]):8.1e} {median / best:7.1f}")


def accuracy(finest: int = 833) -> None:
    """Discretisation error on nested grids, against the harmonic scheme on 833²."""
    print("relative L2 error on nested grids, reference: harmonic faces, 833 x 833")
    strides = (16, 8, 4, 2)
    print(f"{'permeability, faces':36s}", *(f"{832 // s + 1:9d}" for s in strides))
    for title, law in (("12 | 3", TwoPhase()), ("log-normal", LogNormal())):
        a = law.draw(np.random.default_rng(0), (finest, finest))[None]
        fine = Darcy(resolution=(finest, finest)).solve({"permeability": a})
        p = fine.outputs["pressure"]
        for faces in ("harmonic", "fno"):
            errors = []
            for s in strides:
                n = (finest - 1) // s + 1
                solver = Darcy(resolution=(n, n), faces=faces)
                coarse = solver.solve({"permeability": a[:, ::s, ::s]})
                e = coarse.outputs["pressure"] - p[:, ::s, ::s]
                errors.append(np.linalg.norm(e) / np.linalg.norm(p[:, ::s, ::s]))
            print(f"{title + ', ' + faces:36s}", *(f"{e:9.1e}" for e in errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=421)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--contrasts", type=float, nargs="+", default=[4.0])
    parser.add_argument("--accuracy", action="store_true")
    arguments = parser.parse_args()
    if arguments.accuracy:
        return accuracy()
    threads = os.environ.get("OMP_NUM_THREADS", "not limited")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"threads {threads}, load {load}, pyamg {pyamg.__version__}")
    for contrast in arguments.contrasts:
        speed(arguments.nodes, arguments.repeats, contrast)


if __name__ == "__main__":
    main()
