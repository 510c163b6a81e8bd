"""What a Lipschitz constant that is set costs, and what it says: Burgers' equation.

    python -m benchmarks.lipschitz FOLDER

POD-DeepONet learns the velocity at time 1 from the initial one (128 points, 500
samples), with a plain branch network and with sandwich layers of several bounds. Shown
for each, over three seeds: relative L2 error on 100 test samples; the certificate, and
the largest local σ (`sensitivity`) among them and among inputs ten times as large; the
error with 10 % of white noise in the input, and with 10 % in the worst direction of
the linearised surrogate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.datasets.field_dataset import collate
from opkit.errors import OpkitInputError
from opkit.metrics.functional import relative_l2
from opkit.surrogate.sensitivity import certificate, sensitivity

SEED = 1
STEPS, BATCH, NOISE = 3000, 20, 0.1
COMMON = (
    "model.sensors=[128]",
    "model.branch_widths=[128,128]",
    "training.learning_rate=2e-3",
)
KINDS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "sandwich, 10": ("model.branch=sandwich", "model.branch_bound=10"),
    "sandwich, 30": ("model.branch=sandwich", "model.branch_bound=30"),
    "sandwich, 100": ("model.branch=sandwich", "model.branch_bound=100"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    case = load_case(
        "burgers",
        ("resolution=128", "solver.parameters.viscosity=0.01", "samples.train=500",
         "samples.validation=50", "samples.test=100"),
    )  # fmt: skip
    data = data_file(case, options.folder / "burgers.h5", SEED)
    print("| branch | error | certificate | largest σ | at ten times the input "
          "| 10 % of noise | 10 % at worst | seconds |")  # fmt: skip
    print("|---" * 8 + "|")
    for kind in KINDS:
        made = [
            rows.row(f"{kind} {seed}", lambda s=seed, k=kind: one(data, k, s, options))
            for seed in range(options.seeds)
        ]
        cells = [shown([row[name] for row in made], form) for name, form in COLUMNS]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    print_machine(rows)


COLUMNS = (
    ("error", "{:.2%}"),
    ("certificate", "{:.3g}"),
    ("sigma", "{:.3g}"),
    ("sigma_far", "{:.3g}"),
    ("noise", "{:.2%}"),
    ("worst", "{:.2%}"),
    ("seconds", "{:.0f}"),
)


def one(data: Path, kind: str, seed: int, options: argparse.Namespace) -> Row:
    """Train, and measure on the test samples."""
    name = kind.replace(", ", "-")
    epochs = options.steps * BATCH // 500
    overrides = [*COMMON, *KINDS[kind], "mode=map", "training.schedule=onecycle"]
    overrides += [f"training.batch_size={BATCH}", f"training.epochs={epochs}"]
    run = options.folder / f"{name}-{seed}"
    surrogate, seconds = trained(data, run, "pod-deeponet", overrides, seed)
    samples = surrogate.samples(data, "test", trusted=True)
    batch = collate(samples.__getitems__(list(range(len(samples)))))
    x, true = batch["inputs"], batch["outputs"]
    local = sensitivity(surrogate.predict, x)
    far = sensitivity(surrogate.predict, 10 * x)
    size = x.flatten(1).norm(dim=1)[:, None, None]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, generator=generator)
    noise *= NOISE * size / noise.flatten(1).norm(dim=1)[:, None, None]
    worst = NOISE * size * torch.from_numpy(local.direction).to(x)

    def error(inputs: Tensor) -> float:
        return float(relative_l2(surrogate.predict(inputs), true).mean())

    try:
        bound = certificate(surrogate)
    except OpkitInputError:
        bound = float("inf")
    return {
        "error": error(x),
        "certificate": bound,
        "sigma": float(np.max(local.gain)),
        "sigma_far": float(np.max(far.gain)),
        "noise": error(x + noise),
        "worst": error(x + worst),
        "seconds": seconds,
    }


def shown(values: list[float], form: str) -> str:
    """Mean and range."""
    mean, low, high = np.mean(values), min(values), max(values)
    if low == high or not np.isfinite(mean):
        return form.format(mean)
    return f"{form.format(mean)} ({form.format(low)} to {form.format(high)})"


if __name__ == "__main__":
    main()
