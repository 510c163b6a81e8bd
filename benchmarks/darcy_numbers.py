"""Operators on darcy-parametric: a pressure field from ten numbers.

    python -m benchmarks.darcy_numbers FOLDER [--operators fno pod-gp ...]

Each operator learns from 100, 300 and 1,000 samples of the case (33 x 33 points, every
second one learnt), which contain one another, with the same validation and test
samples. Sizes and numbers of steps are those below, made for a CPU: cheap operators
are trained with three seeds, of which the mean and the range are shown. Printed are
the relative L2 error on the test samples and the processor seconds of training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.datasets.field_dataset import collate
from opkit.metrics.functional import relative_l2
from opkit.operators.inputs import Inputs

SEED = 1
BATCH = 20
STEPS = {"fno": 600, "pod-gp": 0}
"""Of training; `MOST` for the others."""
MOST = 2000
CHEAP = ("training.learning_rate=2e-3",)
SETTINGS: dict[str, tuple[str, ...]] = {
    "deeponet": CHEAP,
    "pod-deeponet": CHEAP,
    "mionet": CHEAP,
    "fno": (
        "model.n_modes=[12,12]",
        "model.hidden_channels=20",
        "model.mean_field=true",
        "training.learning_rate=4e-3",
    ),
    "pod-gp": (),
}
SEEDS = {"pod-gp": 1, "mionet": 1}
"""Three for the others. pod-gp has nothing random; MIONet has one branch for the ten
numbers, which makes it the DeepONet, and is shown to be the same.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--operators", nargs="*", default=list(SETTINGS))
    parser.add_argument("--samples", nargs="*", type=int, default=[100, 300, 1000])
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--resolution", type=int, default=33)
    parser.add_argument("--steps", type=int, default=MOST, help="at most")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    files = [file_of(options, count) for count in options.samples]
    head = " | ".join(f"{n:,} samples | seconds" for n in options.samples)
    print(f"| operator | parameters | {head} |")
    print("|---" * (2 + 2 * len(files)) + "|")
    for operator in options.operators:
        cells = []
        seeds = range(min(SEEDS.get(operator, 3), options.seeds))
        for data, count in zip(files, options.samples, strict=True):
            made = [
                rows.row(
                    f"{operator} {count} {seed}",
                    lambda s=seed, d=data, o=operator: one(d, o, s, options),
                )
                for seed in seeds
            ]
            cells += [shown([row["error"] for row in made])]
            cells += [f"{np.mean([row['seconds'] for row in made]):.0f}"]
        first = rows.by_name[f"{operator} {options.samples[0]} 0"]
        print(f"| `{operator}` | {first['parameters']:,} | {' | '.join(cells)} |",
              flush=True)  # fmt: skip
    mean = rows.by_name[f"{options.operators[0]} {options.samples[-1]} 0"]["mean"]
    print(f"mean of the training pressures: {100 * mean:.1f} %")
    print_machine(rows)


def file_of(options: argparse.Namespace, count: int) -> Path:
    """The data file with so many training samples, the first ones of the largest."""
    sizes = {"train": count, "validation": options.validation, "test": options.test}
    settings = (f"samples.{split}={n}" for split, n in sizes.items())
    case = load_case(
        "darcy-parametric", (f"resolution={options.resolution}", *settings)
    )
    most = max(options.samples)
    others = range(most, most + options.validation + options.test)
    path = options.folder / f"{count}.h5"
    return data_file(case, path, SEED, picked=[*range(count), *others])


def one(data: Path, operator: str, seed: int, options: argparse.Namespace) -> Row:
    """Train, and measure on the test samples."""
    count, steps = int(data.stem), min(STEPS.get(operator, MOST), options.steps)
    run = data.with_name(f"{operator}-{count}-{seed}")
    settings = (
        *SETTINGS[operator],
        "subsample=2",
        "mode=map",
        f"training.batch_size={BATCH}",
        f"training.epochs={max(steps * BATCH // count, 1)}",
        "training.schedule=onecycle",
    )
    surrogate, seconds = trained(data, run, operator, settings, seed)
    samples = surrogate.samples(data, "test")
    batch = collate(samples.__getitems__(list(range(len(samples)))))
    predicted = surrogate.predict(Inputs.of(batch))
    training = surrogate.samples(data, "train")
    outputs = collate(training.__getitems__(list(range(len(training)))))["outputs"]
    mean = outputs.mean(0, keepdim=True).expand_as(predicted)
    return {
        "error": float(
            relative_l2(predicted, batch["outputs"], surrogate.domain).mean()
        ),
        "mean": float(relative_l2(mean, batch["outputs"], surrogate.domain).mean()),
        "seconds": seconds,
        "parameters": surrogate.config.provenance.parameters,
        "best_epoch": surrogate.config.provenance.best_epoch,
    }


def shown(errors: Sequence[float]) -> str:
    """Mean and range of errors, in per cent."""
    low, mean, high = (100 * f(errors) for f in (min, np.mean, max))
    return f"{mean:.2f} %" + (f" ({low:.2f} to {high:.2f})" if len(errors) > 1 else "")


if __name__ == "__main__":
    main()
