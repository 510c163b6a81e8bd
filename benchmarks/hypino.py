"""Figures of HyPINO: data, held-out problems, the seven benchmarks, ablation.

    python benchmarks/hypino.py throughput
    python benchmarks/hypino.py references [--authors DIR]
    python benchmarks/hypino.py held-out [--model RUN]
    python benchmarks/hypino.py benchmarks [--model RUN] [--steps 300] [--lbfgs 100]
    python benchmarks/hypino.py magnitude [--steps 600]

Everything runs on one thread. DIR holds the authors' arrays (folder assets of
github.com/rbischof/hypino), row 0 at y = +1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import opkit.hypino
from opkit.case import load_case
from opkit.hypino.ensemble import Ensemble
from opkit.hypino.fine_tune import fine_tune
from opkit.hypino.refine import magnitude, refine, write
from opkit.hypino.residuals import nothing
from opkit.hypino.weights import SHIPPED
from opkit.operators.hypino.symmetry import symmetries
from opkit.operators.hypino.target import Target, random_target
from opkit.pde.classes import CLASSES
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.solvers.manufactured.problems import draw_problems
from opkit.train import train

BENCHMARKS = {
    "heat": "heat",
    "helmholtz": "helmholtz",
    "helmholtz-holes": "helmholtz_G",
    "poisson-disks": "poisson_C",
    "poisson-l-shape": "poisson_L",
    "poisson-gaussians": "poisson_G",
    "wave": "wave",
}
SMOOTH = ManufacturedDistribution.model_validate(
    load_case("manufactured").recipes["hypino"].stream["distribution"]
)


def throughput(_: argparse.Namespace) -> None:
    print("problems drawn a second, 1 thread, published distribution; median of 5")
    for n, batch, counts in ((32, 128, (256, 128)), (224, 16, (2048, 2048))):
        for labelled in (True, False):
            generator = torch.Generator().manual_seed(0)
            rates = []
            for _ in range(6):
                start = time.process_time()
                draw_problems(
                    batch,
                    ManufacturedDistribution(),
                    (n, n),
                    counts,
                    generator,
                    labelled,
                )
                rates.append(batch / (time.process_time() - start))
            kind = "labelled" if labelled else "unlabelled"
            print(f"{n}x{n} {kind:>10}: {statistics.median(rates[1:]):7.0f} /s of CPU")


def reference(name: str):
    solver = load_case(f"hypino-{name}").build_solver()
    u, error, _ = solver.reference()
    return solver, u, error, solver.inside()


def references(arguments: argparse.Namespace) -> None:
    print(
        "benchmark            reference     est. error  max u    authors: rel L2  MSE"
    )
    for name, folder in BENCHMARKS.items():
        solver, u, error, inside = reference(name)
        kind = "closed form" if solver.solution else "elements"
        line = f"{name:20} {kind:12} {error:10.1e} {u.max():8.4f}"
        if arguments.authors is not None:
            array = np.load(arguments.authors / folder / "reference_solution.npy")[::-1]
            off = (array - u)[inside]
            relative = np.linalg.norm(off) / np.linalg.norm(u[inside])
            line += f" {relative:14.1e} {np.mean(off**2):9.1e}"
        print(line, flush=True)


def scores(field: np.ndarray, u: np.ndarray, inside: np.ndarray) -> tuple[float, ...]:
    off, size = (field - u)[inside], np.abs(field[inside]) + np.abs(u[inside])
    return (
        float(np.mean(off**2)),
        float(100 * np.mean(2 * np.abs(off) / (size + 1e-8))),
        float(np.linalg.norm(off) / np.linalg.norm(u[inside])),
    )


def evaluate(networks: Ensemble, inside: np.ndarray) -> np.ndarray:
    axis = np.linspace(-1, 1, len(inside))
    x, y = np.meshgrid(axis, axis)
    points = torch.tensor(np.stack([x[inside], y[inside]], -1)[None]).float()
    field = np.zeros(inside.shape)
    with torch.no_grad():
        field[inside] = networks.value(points)[0].numpy()
    return field


def benchmarks(arguments: argparse.Namespace) -> None:
    model = opkit.hypino.load(arguments.model)
    print("MSE / SMAPE % / relative L2, over the domain at 224 x 224")
    for name in arguments.only or BENCHMARKS:
        solver, u, _, inside = reference(name)
        mean = np.full_like(u, u[inside].mean())
        problem = opkit.hypino.state_problem(solver.problem)
        zero = write(model, problem)
        fresh = random_target(
            model.shape, 1, torch.Generator().manual_seed(0), problem.coefficients
        )
        random = Ensemble((fresh,), (magnitude(problem, nothing),))
        rows = {"mean of u": mean, "zero-shot": evaluate(zero, inside)}
        for rounds in (0, 3, 10):
            refined, history = refine(model, problem, zero, rounds)
            label = f"{rounds} refinements ({len(history) - 2} accepted)"
            rows[label if rounds else "scaled"] = evaluate(refined, inside)
        if arguments.steps or arguments.lbfgs:
            one, _ = refine(model, problem, write(model, problem, average=False), 0)
            budget = (arguments.steps, arguments.lbfgs)
            for label, start in (("fine-tuned", one), ("random, fine-tuned", random)):
                rows[label] = evaluate(fine_tune(problem, start, *budget), inside)
        print(f"{name}: variance {u[inside].var():.3g}")
        for label, field in rows.items():
            mse, smape, relative = scores(field, u, inside)
            print(f"  {label:30} {mse:9.2e} {smape:6.1f} {relative:8.4f}", flush=True)


def by_class(
    model: opkit.hypino.HyPINO, count: int, series: float
) -> dict[str, tuple[float, float, float]]:
    """Median relative L2 of one pass, of all orientations, and of the mean of u."""
    medians = {}
    n = model.options.resolution
    for k, name in enumerate(CLASSES):
        shares = {c: float(c == name) for c in CLASSES}
        generator = torch.Generator().manual_seed(10_000 + k)
        law = SMOOTH.model_copy(update={**shares, "series": series})
        p = draw_problems(count, law, (n, n), (512, 64), generator)
        u, inside = p.solution[0], p.weights
        with torch.no_grad():
            answers = [
                s.carry_back(
                    Target.from_tensors(model(*s.problem(p.coefficients, p.grids)))
                ).value(p.points)
                for s in symmetries(name == "elliptic")
            ]
        mean = (u * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True)
        fields = (answers[0], torch.stack(answers).mean(0), mean.expand_as(u))
        size = (u * inside).norm(dim=1)
        medians[name] = tuple(
            float((((field - u) * inside).norm(dim=1) / size).median())
            for field in fields
        )
    return medians


def held_out(arguments: argparse.Namespace) -> None:
    print("median relative L2 of 200 held-out manufactured problems of each class")
    print(f"{'':24} one pass  all orientations  mean of u")
    model = opkit.hypino.load(arguments.model)
    for kind, series in (("programs", 0.0), ("series", 1.0)):
        for name, (one, every, mean) in by_class(model, 200, series).items():
            print(f"{kind:10} {name:12} {one:9.3f} {every:17.3f} {mean:10.3f}")


def ablation(arguments: argparse.Namespace) -> None:
    print(f"tiny, {arguments.steps} steps: median relative L2 of 200 held-out problems")
    epochs = max(arguments.steps // 100, 1)
    for invariant in (True, False):
        start = time.process_time()
        result = train(
            "manufactured",
            arguments.out / f"magnitude-{invariant}",
            operator="hypino",
            overrides=[
                f"training.epochs={epochs}",
                f"model.magnitude_invariant={str(invariant).lower()}",
            ],
            device="cpu",
        )
        medians = by_class(opkit.hypino.load(result.run), 200, 0.0)
        figures = ", ".join(f"{name} {medians[name][0]:.3f}" for name in CLASSES)
        seconds = time.process_time() - start
        print(
            f"magnitude_invariant={invariant}: {figures} ({seconds:.0f} s)", flush=True
        )


def main() -> None:
    commands = {
        "throughput": throughput,
        "references": references,
        "held-out": held_out,
        "benchmarks": benchmarks,
        "magnitude": ablation,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=commands)
    parser.add_argument("--authors", type=Path)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--out", type=Path, default=Path("runs/hypino"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lbfgs", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"threads 1, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    commands[arguments.command](arguments)


if __name__ == "__main__":
    main()
