"""Does sampling where the surrogate is uncertain beat random sampling at equal cost?

    python -m benchmarks.growing [--seeds 5] [--first 0] [--start 64] [--add 64]

For each seed: a surrogate is trained on ``start`` samples of the case darcy; then
``add`` further samples are solved, once drawn at random and once picked out of a pool
ten times as large by the surrogate's own error estimate; training goes on with either
from the same weights, by the same recipe. Printed: relative L2 errors on the same test
samples, mean and 95th percentile, and the time that the picking took beside that of
solving the added samples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import opkit
from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.generate import generate
from opkit.train import train
from opkit.train.pick_samples import pick

SETTINGS = (
    "subsample=1",
    "model.n_modes=[10, 10]",
    "model.hidden_channels=16",
    "model.n_layers=3",
    "training.batch_size=8",
    "training.learning_rate=4e-3",
    "training.schedule=onecycle",
    "training.symmetries=[flip_x, flip_y, transpose]",
)


def with_samples(case: Case, **counts: int) -> Case:
    split = {"train": 0, "validation": 0, "test": 0} | counts
    return case.model_copy(update={"samples": case.samples.model_copy(update=split)})


def errors(run: Path, data: Path) -> np.ndarray:
    surrogate = opkit.load(run)
    with DataFile(data) as file:
        rows = file.indices("test")
        a, p = file.read("permeability", rows), file.read("pressure", rows)
    difference = (surrogate(a) - p).reshape(len(p), -1)
    return np.linalg.norm(difference, axis=1) / np.linalg.norm(
        p.reshape(len(p), -1), axis=1
    )


def one_seed(case: Case, seed: int, folder: Path, options: argparse.Namespace) -> dict:
    settings = (*SETTINGS, f"training.epochs={options.epochs}")
    first = with_samples(case, train=options.start, validation=60, test=300)
    data = generate(first, folder / "first.h5", 100 + seed)
    base = folder / "base"
    train(data, base, operator="fno", overrides=settings, seed=seed, device="cpu")
    begin = time.process_time()
    chosen = pick(base, case, options.add, 10 * options.add, 200 + seed)
    picking = time.process_time() - begin
    pairs = {
        "random": generate(
            with_samples(case, train=options.add), folder / "random.h5", 300 + seed
        ),
        "uncertain": generate(
            chosen.case,
            folder / "uncertain.h5",
            200 + seed,
            picked=chosen.numbers,
            marks=chosen.marks,
        ),
    }
    solver = case.build_solver()
    with DataFile(pairs["uncertain"]) as file:
        fields = {"permeability": file.read("permeability", slice(None)).astype(float)}
    begin = time.process_time()
    solver.solve(fields)
    results = {"base": errors(base, data), "picking": picking}
    results["solving"] = time.process_time() - begin
    for name, more in pairs.items():
        run = folder / name
        train(
            data,
            run,
            operator="fno",
            overrides=settings,
            seed=seed,
            device="cpu",
            start=base,
            more=[more],
        )
        results[name] = errors(run, data)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--resolution", type=int, default=29)
    parser.add_argument("--start", type=int, default=64)
    parser.add_argument("--add", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = opkit.load_case("darcy", (f"resolution={options.resolution}",))
    print(f"darcy at {options.resolution}^2, {options.start} + {options.add} samples")
    print("seed | base mean | random mean, 95 % | uncertain mean, 95 % | picking, s")
    rows = []
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results = one_seed(case, seed, Path(folder), options)
        row = [results["base"].mean()]
        for name in ("random", "uncertain"):
            row += [results[name].mean(), np.quantile(results[name], 0.95)]
        rows.append(row)
        print(
            f"{seed} | {row[0]:.4f} | {row[1]:.4f}, {row[2]:.4f} "
            f"| {row[3]:.4f}, {row[4]:.4f} | {results['picking']:.2f} "
            f"(solving {results['solving']:.2f})",
            flush=True,
        )
    table = np.array(rows)
    ratio = table[:, 3] / table[:, 1]
    tail = table[:, 4] / table[:, 2]
    for name, values in (("mean error", ratio), ("95th percentile", tail)):
        spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
        print(f"{name}: uncertain / random = {values.mean():.3f} +- {spread:.3f}")


if __name__ == "__main__":
    main()
