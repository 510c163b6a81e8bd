"""Scattered waves and brackets: seconds per sample, and what cheaper solves cost.

    OMP_NUM_THREADS=1 python benchmarks/waves_and_brackets.py [--samples 5]
    python benchmarks/waves_and_brackets.py --figures docs/figures

Medians over the samples, in seconds of processor time, without what is built once per
mesh. Errors are relative, Euclidean, of the nodal values of all outputs named beside
them, against the solver itself; for waves that of the solver against twice the cells in
each direction. With ``--figures`` two pictures are drawn in place of that.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opkit.solvers.bracket.shape import LENGTHS
from opkit.solvers.bracket.solver import DISPLACEMENT, Bracket3D
from opkit.solvers.fem.simplex_mesh import boundary_facets
from opkit.solvers.helmholtz.scattering import HelmholtzScattering
from opkit.solvers.interface import Fields, Ladder

CLOCK = time.process_time  # seconds of this process: other load counts less


def scattering_inputs(rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
    return {
        "wave_number": rng.uniform(4, 10, samples),
        "shape": rng.uniform(-0.1, 0.1, (samples, 6)),
    }


def bracket_inputs(rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
    low = (80.0, 80.0, 15.0, 15.0, 0.5, 30.0, 5.0)
    high = (120.0, 120.0, 25.0, 25.0, 1.0, 50.0, 20.0)
    lengths = rng.uniform(low, high, (samples, len(LENGTHS)))
    load = rng.uniform((-200, -1000, -200), (200, -500, 200), (samples, 3))
    return {**dict(zip(LENGTHS, lengths.T, strict=True)), "load": load}


def one(inputs: Fields, sample: int) -> dict[str, np.ndarray]:
    return {name: value[sample : sample + 1] for name, value in inputs.items()}


def vector(outputs: Fields, names: Sequence[str]) -> np.ndarray:
    return np.stack([outputs[name][0] for name in names])


def relative(values: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(values - exact) / np.linalg.norm(exact))


def ladder(
    solver: Ladder, inputs: Fields, names: Sequence[str], truth: Sequence[np.ndarray]
) -> None:
    """Print the solver and its cheaper versions, errors against ``truth``."""
    print(f"{'':24s} {'seconds':>8s} {'error %':>8s} {'largest':>8s}")
    exact = list(truth)
    for label, rung in [("full", solver), *solver.cheaper()]:
        rung.solve(one(inputs, 0))
        times, errors = [], []
        for i, expected in enumerate(exact):
            start = CLOCK()
            outputs = rung.solve(one(inputs, i)).outputs
            times.append(CLOCK() - start)
            errors.append(100 * relative(vector(outputs, names), expected))
            if label == "full":
                exact[i] = vector(outputs, names)
        print(
            f"{label:24s} {np.median(times):8.3f} {np.median(errors):8.3f}"
            f" {max(errors):8.3f}",
            flush=True,
        )


def scattering(samples: int) -> None:
    solver, names = HelmholtzScattering(), ("scattered_real", "scattered_imaginary")
    fine = HelmholtzScattering(resolution=(97, 512))
    inputs = scattering_inputs(np.random.default_rng(0), samples)
    truth = [
        vector(fine.solve(one(inputs, i)).outputs, names)[:, ::2, ::2]
        for i in range(samples)
    ]
    print(f"helmholtz-scattering, {2 * np.prod(solver.grid.shape)} real unknowns")
    ladder(solver, inputs, names, truth)
    reflection()


def reflection() -> None:
    """A disk, k = 8, in circles of radius 1.6 and 2.8 with cells of equal size."""
    inputs = {"wave_number": np.array([8.0]), "shape": np.zeros((1, 6))}
    names = ("scattered_real", "scattered_imaginary")
    for rows, around in ((6, 64), (12, 128), (24, 256)):
        size = 2 * around
        near = HelmholtzScattering(resolution=(2 * rows + 1, size), radius=1.6)
        far = HelmholtzScattering(resolution=(6 * rows + 1, size), radius=2.8)
        fields = [
            vector(s.solve(inputs).outputs, names)[:, : 2 * rows + 1]
            for s in (near, far)
        ]
        change = relative(*fields)
        print(f"circle moved, {rows} x {around} cells: change {change:.1e}")


def bracket(samples: int) -> None:
    solver = Bracket3D()
    inputs = bracket_inputs(np.random.default_rng(0), samples)
    full = [solver.solve(one(inputs, i)).outputs for i in range(samples)]
    print(f"bracket-3d, {3 * solver.strip.nodes} unknowns")
    for names in (DISPLACEMENT, ("von_mises",)):
        print(", ".join(names))
        ladder(solver, inputs, names, [vector(outputs, names) for outputs in full])


def draw_brackets(path: Path) -> None:
    """Three brackets, displaced 100 times as far as they are, with their stress."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    solver = Bracket3D()
    inputs = bracket_inputs(np.random.default_rng(2), 3)
    outputs, points = solver.solve(inputs).outputs, solver.points(inputs)
    facets = boundary_facets(solver.strip.cells[:, :4])
    scale = plt.Normalize(0, 40)
    figure = plt.figure(figsize=(10, 3.6), layout="constrained")
    for i in range(3):
        axis = figure.add_subplot(1, 3, i + 1, projection="3d")
        moved = np.stack([outputs[name][i] for name in DISPLACEMENT], axis=-1)
        place = (points[i] + 100 * moved)[facets][..., [0, 2, 1]] * [1, -1, 1]
        colours = plt.cm.viridis(scale(outputs["von_mises"][i][facets].mean(axis=1)))
        surface = Poly3DCollection(
            place, facecolors=colours, edgecolors=colours, lw=0.2
        )
        axis.add_collection3d(surface)
        flat = place.reshape(-1, 3)
        limits = np.stack([flat.min(axis=0), flat.max(axis=0)], axis=1)
        axis.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
        axis.set_box_aspect(np.ptp(limits, axis=1), zoom=1.15)
        axis.view_init(elev=18, azim=-60)
        axis.axis("off")
        force = ", ".join(f"{f:.0f}" for f in inputs["load"][i])
        axis.set_title(f"load ({force}) N", fontsize=10)
    colour = plt.cm.ScalarMappable(scale, "viridis")
    figure.colorbar(colour, ax=figure.axes, shrink=0.7, label="von Mises stress, MPa")
    figure.savefig(path, dpi=90)


def draw_scattering(path: Path) -> None:
    """The real part of the whole field of three waves, and of what is scattered."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    solver = HelmholtzScattering()
    inputs = scattering_inputs(np.random.default_rng(3), 3)
    inputs["wave_number"] = np.array([4.0, 7.0, 10.0])
    outputs, points = solver.solve(inputs).outputs, solver.points(inputs)
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.8), layout="constrained")
    for i, k in enumerate(inputs["wave_number"]):
        x, y = np.moveaxis(points[i][:, np.r_[:256, 0]], -1, 0)
        u = outputs["scattered_real"][i][:, np.r_[:256, 0]]
        for axis, field in zip(axes[:, i], (np.cos(k * x) + u, u), strict=True):
            drawn = axis.pcolormesh(
                x, y, field, cmap="RdBu_r", vmin=-2, vmax=2, shading="gouraud"
            )
            axis.fill(x[0], y[0], color="#8a8f98")
            axis.set_aspect("equal")
            axis.axis("off")
        axes[0, i].set_title(f"whole field, k = {k:g}", fontsize=10)
        axes[1, i].set_title("scattered", fontsize=10)
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="real part")
    figure.savefig(path, dpi=75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--figures", type=Path)
    arguments = parser.parse_args()
    if arguments.figures is not None:
        draw_scattering(arguments.figures / "scattering.png")
        draw_brackets(arguments.figures / "brackets.png")
        return
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"threads {os.environ.get('OMP_NUM_THREADS', 'not limited')}, load {load}")
    scattering(arguments.samples)
    bracket(arguments.samples)


if __name__ == "__main__":
    main()
