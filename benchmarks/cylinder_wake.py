"""Flow past a cylinder: numbers against the published ones, time, a picture.

    OMP_NUM_THREADS=1 python -m benchmarks.cylinder_wake [--reynolds 100]
        [--centre 0.2 0.2] [--radius 0.05] [--cells 12 12] [--figure FILE.png]

Prints unknowns, steps, seconds of processor time, and drag, lift and Strouhal number;
beside them the intervals of case 2D-2 of Schäfer and Turek (1996), which is the default
sample. The picture is the vorticity at the first record, where the lift rises through
its mean.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from opkit.solvers.cylinder_wake import CylinderWake
from opkit.solvers.fem.quads.fields import gradients

PUBLISHED = {
    "drag_max": (3.22, 3.24),
    "lift_max": (0.99, 1.01),
    "strouhal": (0.295, 0.305),
}


def vorticity(
    solver: CylinderWake, points: np.ndarray, velocity: np.ndarray
) -> np.ndarray:
    """∂v/∂x - ∂u/∂y at the nodes (node,), mean over their cells."""
    line = np.array([0.0, 0.5, 1.0])
    nodes = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    slopes = gradients(solver.grid, points, velocity, nodes)
    lattice = solver.grid.lattice.ravel()
    values = (slopes[..., 1, 0] - slopes[..., 0, 1]).ravel()
    return np.bincount(lattice, values) / np.bincount(lattice)


def draw(path: Path, points: np.ndarray, cells: np.ndarray, values: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    limit = 40.0
    figure, axes = plt.subplots(figsize=(10, 2.4), layout="constrained")
    shown = axes.tripcolor(
        *points.T,
        cells,
        values,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        shading="gouraud",
        rasterized=True,
    )
    axes.set(aspect="equal", xlabel="x", ylabel="y")
    figure.colorbar(shown, label="vorticity", extend="both", shrink=0.8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reynolds", type=float, default=100.0)
    parser.add_argument("--centre", type=float, nargs=2, default=[0.2, 0.2])
    parser.add_argument("--radius", type=float, default=0.05)
    parser.add_argument("--cells", type=int, nargs=2, default=[12, 12])
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    sample = {
        name: np.array([getattr(options, name)])
        for name in ("reynolds", "centre", "radius")
    }
    solver = CylinderWake(resolution=tuple(options.cells))
    begin = time.process_time()
    solution = solver.solve(sample)
    seconds = time.process_time() - begin
    grid = solver.grid
    print(f"load {os.getloadavg()[0]:.1f}; {seconds:.1f} s of processor time, with JIT")
    print(f"{grid.nodes} nodes, {2 * grid.nodes + len(grid.vertices)} unknowns")
    for name, values in solution.details.items():
        low, high = PUBLISHED.get(name, (np.nan, np.nan))
        told = f"   published {low:g} to {high:g}" if np.isfinite(low) else ""
        print(f"{name:15s} {values[0]:.5g}{told}")
    print(f"{solution.measure}: {solution.error[0]:.1e}")
    if options.figure is not None:
        points, cells = solver.points(sample)[0], solver.mesh()[1]
        names = ("velocity_x", "velocity_y")
        velocity = np.stack([solution.outputs[name][0, 0] for name in names])
        draw(options.figure, points, cells, vorticity(solver, points, velocity))


if __name__ == "__main__":
    main()
