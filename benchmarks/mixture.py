"""Experts for parts of a law, blended by their calibrated errors, beside one operator.

    python -m benchmarks.mixture FOLDER [--samples 600] [--epochs 60]

``burgers-viscosity`` on 128 points, a map from the initial velocity and the viscosity
to the velocity at time 1. Three FNOs learn a third of the law each (a decade of
viscosity, cut in three on the logarithmic scale), one FNO of the same size learns the
whole law from as many samples, with as many steps as the three together: of every
question one expert is active, as large as the one operator. Rows are relative L2 errors
on fresh samples of the whole law, for

- one: the operator of the whole law;
- routed: the expert whose part the viscosity lies in, told so;
- blend: `opkit.surrogate.Blend` of the three, told nothing;
- mean: the plain mean of the three;
- both: the blend of the three and of the one.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.datasets.read import DataFile
from opkit.surrogate import Blend, Surrogate

ENDS = np.geomspace(0.01, 0.1, 4)
"""Of the viscosity; above, nothing is left at time 1 to be relative to."""
MODEL = ("model.n_modes=[16]", "model.hidden_channels=24", "model.n_layers=4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--validation", type=int, default=240)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3, help="of training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    seeds = [
        rows.row(f"seed {seed}", partial(one, seed, options))
        for seed in range(options.seeds)
    ]
    print("| | mean (smallest to largest) |\n|---|---|")
    for name in seeds[0]:
        if name in ("held", "seconds", "load"):
            continue
        values = [100 * row[name] for row in seeds]
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"| {name} | {np.mean(values):.2f} % ({spread}) |")
    held = [100 * row["held"] for row in seeds]
    print(f"bound of the blend at 90 % held for {np.mean(held):.1f} % of samples")
    print(f"{np.mean([row['seconds'] for row in seeds]):.0f} processor seconds a seed")
    print_machine(rows)


def one(seed: int, options: argparse.Namespace) -> Row:
    """Train the four with one seed, and measure."""
    learning = (
        "mode=map",
        f"training.epochs={options.epochs}",
        "training.learning_rate=2e-3",
        "training.schedule=onecycle",
        *MODEL,
    )
    experts, spent = [], 0.0
    for k in range(3):
        data = part_of_law(options, f"part-{k}", ENDS[k], ENDS[k + 1], 3, 1 + k, 0)
        run = options.folder / f"part-{k}-{seed}"
        expert, seconds = trained(data, run, "fno", learning, seed)
        experts.append(expert)
        spent += seconds
    data = part_of_law(options, "whole", ENDS[0], ENDS[3], 1, 0, options.test)
    run = options.folder / f"whole-{seed}"
    whole, seconds = trained(data, run, "fno", learning, seed)
    with DataFile(data) as file:
        picked = file.indices("test")
        given = {
            name: file.read(name, picked) for name in ("initial_velocity", "viscosity")
        }
        true = file.read("velocity", picked)[:, -1]
    part = np.searchsorted(ENDS[1:-1], given["viscosity"])
    answers = np.stack([answer(expert, given) for expert in experts])
    blended = Blend(experts)(given, check=True)
    off = error(last(blended.prediction), true)
    return {
        "one": float(error(answer(whole, given), true).mean()),
        "routed": float(error(answers[part, np.arange(len(part))], true).mean()),
        "blend": float(off.mean()),
        "mean": float(error(answers.mean(0), true).mean()),
        "both": float(error(last(Blend([*experts, whole])(given)), true).mean()),
        "held": float((off <= blended.error_bound).mean()),
        "seconds": spent + seconds,
    }


def part_of_law(
    options: argparse.Namespace,
    name: str,
    low: float,
    high: float,
    share: int,
    seed: int,
    test: int,
) -> Path:
    """Data of a part of the law."""
    law = f"parameters.viscosity={{kind: log-uniform, low: {low}, high: {high}}}"
    sizes = (
        f"samples.train={options.samples // share}",
        f"samples.validation={options.validation // share}",
        f"samples.test={test}",
    )
    case = load_case("burgers-viscosity", ("resolution=128", law, *sizes))
    return data_file(case, options.folder / f"{name}.h5", seed)


def answer(surrogate: Surrogate, given: dict[str, np.ndarray]) -> np.ndarray:
    return last(surrogate(given))


def last(outputs: dict[str, np.ndarray]) -> np.ndarray:
    velocity = outputs["velocity"]
    return velocity.reshape(len(velocity), -1)


def error(u: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Relative L2 (sample,)."""
    off: np.ndarray = np.linalg.norm(u - true, axis=1) / np.linalg.norm(true, axis=1)
    return off


if __name__ == "__main__":
    main()
