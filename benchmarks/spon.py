"""SPON on the L-shape: errors at equal time, cost, boundary values, other meshes.

    python -m benchmarks.spon --recipes spon spon-flat --seconds 300
    python -m benchmarks.spon --resolution 64 --divisions 1 --steps 10

Data are made from the case darcy-mesh unless they are there. Seconds are processor time
divided by the number of threads. Errors are means over the test samples of relative
errors in the norms of the elements, eᵀ M e for L2, eᵀ (M + K) e for H1 and eᵀ K e for
the seminorm, in float64.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import opkit
from benchmarks.operators import run, spent
from opkit import elements
from opkit.case import load_case
from opkit.case.record import Case
from opkit.datasets.field_dataset import FieldDataset
from opkit.generate import generate
from opkit.operators.interface import build_operator
from opkit.operators.shapes import MeshShape
from opkit.surrogate.other_mesh import rebuild, transfer
from opkit.surrogate.surrogate import Surrogate
from opkit.train.fields.shape import mesh_shape
from opkit.train.loop.recipes import resolve_recipe


def data(
    folder: Path, resolution: int, divisions: int, train: int, test: int, seed: int = 0
) -> tuple[Path, Case]:
    """The data file of one mesh, made where it is missing, and its case."""
    case = load_case(
        "darcy-mesh",
        (
            f"resolution={resolution}",
            f"solver.parameters.domain.divisions={divisions}",
            f"samples.train={train}",
            f"samples.validation={test if train else 0}",
            f"samples.test={test}",
        ),
    )
    path = folder / f"l-shape-{resolution}-{divisions}-{train}-{seed}.h5"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generate(case, path, seed)
    return path, case


def split(path: Path, name: str) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of a split."""
    samples = FieldDataset(path, name)
    items = [samples[i] for i in range(len(samples))]
    inputs, outputs = (
        torch.stack([item[role] for item in items]) for role in ("inputs", "outputs")
    )
    return inputs, outputs


def norms(prediction: Tensor, target: Tensor, mesh: MeshShape) -> str:
    """Relative errors in L2, H1 and the seminorm of H1, means over samples."""
    e, u = ((p[:, 0].double().numpy().T) for p in (prediction - target, target))
    M = elements.mass(mesh.points, mesh.cells)
    K = elements.stiffness(mesh.points, mesh.cells)
    values = []
    for form in (M, M + K, K):
        ratio = np.einsum("ns,ns->s", e, form @ e) / np.einsum("ns,ns->s", u, form @ u)
        values.append(np.sqrt(ratio).mean())
    return "  ".join(f"{value:.4f}" for value in values)


def violation(prediction: Tensor, mesh: MeshShape) -> float:
    """Largest distance from the Dirichlet values."""
    fixed = torch.from_numpy(mesh.fixed)
    boundary_values = torch.from_numpy(mesh.given)
    return float((prediction[..., fixed] - boundary_values[..., fixed]).abs().max())


def resident(peak: bool = False) -> float:
    """Resident memory of this process, or its peak since `forget_peak`, in GiB."""
    field = "VmHWM" if peak else "VmRSS"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 2**20
    return float("nan")


def forget_peak() -> None:
    """Start anew with the peak of resident memory (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def step(
    path: Path, recipe: str, overrides: list[str], steps: int
) -> tuple[float, float, int]:
    """Processor seconds of one training step, GiB it needs, and nodes."""
    samples = FieldDataset(path, "train")
    case = samples.header.case
    resolved = resolve_recipe(case, recipe, overrides)
    shape = mesh_shape(samples.header, resolved)
    model = build_operator("spon", shape, resolved.model)
    batch = [samples[i] for i in range(resolved.training.batch_size)]
    x, u = (torch.stack([item[k] for item in batch]) for k in ("inputs", "outputs"))
    model.prepare({"inputs": x, "outputs": u})
    optimiser = torch.optim.AdamW(model.parameters())
    form = elements.stiffness_matrix(shape.points, shape.cells)
    seconds = []
    forget_peak()
    before = resident()
    for _ in range(steps):
        start = spent()
        optimiser.zero_grad()
        e = (model(x) - u)[:, 0].T
        (e * (form @ e)).sum().backward()
        optimiser.step()
        seconds.append(spent() - start)
    memory = resident(peak=True) - before
    return sorted(seconds)[len(seconds) // 2], memory, len(shape.points)


def other_meshes(surrogate: Surrogate, folder: Path, args: argparse.Namespace) -> None:
    """Transfer and rebuild on a mesh of half the spacing and on one of another kind."""
    halved = (2 * args.resolution, args.divisions)
    unlike = (args.resolution, 1 if args.divisions > 1 else 3)
    for resolution, divisions in (halved, unlike):
        path, case = data(folder, resolution, divisions, 0, 100, seed=1)
        x, u = split(path, "test")
        samples = FieldDataset(path, "test")
        recipe = resolve_recipe(case.dump(), "spon", [])
        mesh = mesh_shape(samples.header, recipe)
        print(f"  on {len(mesh.points)} nodes, test samples of the same law")
        with torch.no_grad():
            moved = transfer(surrogate, mesh)(x)
            print(f"    {'transfer':22}{norms(moved, u, mesh)}")
            own = rebuild(surrogate, mesh).predict(x)
            print(
                f"    {'rebuild':22}{norms(own, u, mesh)}  "
                f"violation {violation(own, mesh):.1e}",
                flush=True,
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["spon", "spon-flat"])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--divisions", type=int, default=3)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--other-meshes", action="store_true")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=Path, default=Path("runs/spon"))
    args = parser.parse_args()
    test = 0 if args.no_training else 100
    path, _ = data(args.runs, args.resolution, args.divisions, args.train, test)
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}; {path.name}"
    )
    for recipe in args.recipes:
        seconds, memory, nodes = step(path, recipe, args.set, args.steps)
        print(f"{recipe}: {nodes} nodes, {seconds:.3f} s and {memory:.2f} GiB a step")
        if args.no_training:
            continue
        folder = args.runs / f"{path.stem}-{time.strftime('%H%M%S')}"
        result, epochs = run(path, folder, recipe, args.set, args.seconds)
        surrogate = opkit.load(result.run)
        x, u = split(path, "test")
        start = spent()
        prediction = surrogate.predict(x)
        each = (spent() - start) / len(x)
        mesh = surrogate.model.operator.data
        print(
            f"  {len(epochs)} epochs in {sum(epochs):.0f} s, "
            f"{surrogate.model.parameter_count:,} parameters, {each:.4f} s a prediction"
        )
        print(f"  {'':24}L2      H1      H1 seminorm")
        print(
            f"    {'surrogate':22}{norms(prediction, u, mesh)}  "
            f"violation {violation(prediction, mesh):.1e}"
        )
        mean = split(path, "train")[1].mean(0, keepdim=True).expand_as(u)
        print(f"    {'mean predictor':22}{norms(mean, u, mesh)}", flush=True)
        if args.other_meshes:
            other_meshes(surrogate, args.runs, args)


if __name__ == "__main__":
    main()
