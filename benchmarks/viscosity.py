"""One FNO for all viscosities beside three FNOs for one viscosity each.

    python -m benchmarks.viscosity FOLDER [--samples 150] [--epochs 40]

The flow is that of ``navier-stokes-viscosity`` on 64 x 64 points, learnt on every
second point as a map from the initial field to that at time 5. One FNO is told the
viscosity, and learns from ``samples`` flows whose viscosity is drawn log-uniformly from
1e-5 to 1e-3; three others learn from a third of that number each, all at viscosity
1e-5, 1e-4 or 1e-3. All see their samples equally often, so the three together take as
many steps as the one.

Errors are relative L2, means over fresh initial fields, the same at every viscosity.
"Flagged" is the share of samples whose viscosity the check calls outside of the range,
"nearest" the one of the three that was trained nearest to it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.metrics.functional import relative_l2
from opkit.operators.inputs import Inputs
from opkit.surrogate.surrogate import Surrogate

TRAINED = (1e-5, 1e-4, 1e-3)
ASKED = (3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3)
"""The first and the last two lie beyond the law, the third and fifth between."""
STRIDE = 2
TIME = ("solver.parameters.records=1", "solver.parameters.record_interval=5.0")
LEARNING = (
    "mode=map",
    f"subsample={STRIDE}",
    "training.batch_size=10",
    "training.learning_rate=2e-3",
    "training.schedule=onecycle",
)
MODEL = [
    "model.n_modes=[12,12]",
    "model.hidden_channels=16",
    "model.n_layers=4",
    "model.mean_field=true",
]
TEST_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--validation", type=int, default=48)
    parser.add_argument("--test", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--model", nargs="*", default=MODEL, help="settings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    surrogates = learnt(options, rows)
    mixed = surrogates.pop("mixed")
    others = " | ".join(f"of {name}" for name in surrogates)
    print(
        "\n| viscosity | one FNO | flagged | nearest of three | "
        f"{others} | the initial field |"
    )
    print("|---" * (5 + len(surrogates)) + "|")
    for viscosity in ASKED:
        row = rows.row(
            f"{viscosity:g}",
            lambda v=viscosity: ask(v, options, mixed, surrogates),
        )
        nearest = min(TRAINED, key=lambda v: abs(np.log(v / viscosity)))
        cells = [row["mixed"], row["flagged"], row[f"{nearest:g}"]]
        cells += [*(row[name] for name in surrogates), row["initial"]]
        shown = " | ".join(f"{100 * cell:.1f} %" for cell in cells)
        print(f"| {viscosity:g} | {shown} |", flush=True)
    print_machine(rows)


def learnt(options: argparse.Namespace, rows: Rows) -> dict[str, Surrogate]:
    """Generate the data and train the four; print a line for each."""
    settings = (*LEARNING, f"training.epochs={options.epochs}", *options.model)
    surrogates: dict[str, Surrogate] = {}
    print("| FNO | flows | parameters | processor minutes | validation |")
    print("|---|---|---|---|---|")
    for seed, (name, case, share) in enumerate(cases(options.resolution)):
        sizes = {
            "train": options.samples // share,
            "validation": options.validation // share,
            "test": 0,
        }
        counts = tuple(f"samples.{split}={n}" for split, n in sizes.items())
        whole = load_case(case[0], (*case[1:], *counts))
        data = data_file(whole, options.folder / f"{name}.h5", seed)
        run = options.folder / name
        surrogates[name], seconds = trained(data, run, "fno", settings)
        rows.row(f"training {name}", lambda seconds=seconds: {"seconds": seconds})
        origin = surrogates[name].config.provenance
        print(
            f"| {name} | {sizes['train']} | {origin.parameters:,} | "
            f"{seconds / 60:.1f} | {origin.best_validation:.4f} |",
            flush=True,
        )
    return surrogates


def cases(resolution: int) -> list[tuple[str, tuple[str, ...], int]]:
    """Name, case with its settings, and the share of the samples, of each FNO."""
    common = (f"resolution={resolution}", *TIME)
    single = [
        (f"{v:g}", ("navier-stokes", *common, f"solver.parameters.viscosity={v}"), 3)
        for v in TRAINED
    ]
    return [("mixed", ("navier-stokes-viscosity", *common), 1), *single]


def ask(
    viscosity: float,
    options: argparse.Namespace,
    mixed: Surrogate,
    singles: dict[str, Surrogate],
) -> Row:
    """Errors of all surrogates at a viscosity, and what the one told it says."""
    start, true = solved(viscosity, options.resolution, options.test)
    numbers = torch.full((len(start), 1), viscosity)
    given = Inputs(start[:, None], parameters=numbers)
    predicted = mixed.predict(given)
    verdict = mixed.checker.judge(given, predicted, without_solver=True)
    row = {"mixed": error(predicted, true, mixed)}
    row["flagged"] = 1 - float(verdict.in_range["viscosity"].mean())
    for name, single in singles.items():
        alone = single.predict(Inputs(given.fields))
        row[name] = error(alone, true, single)
    row["initial"] = error(given.fields, true, mixed)
    return row


def solved(viscosity: float, resolution: int, count: int) -> tuple[Tensor, Tensor]:
    """Initial fields (batch, y, x) and final ones (batch, 1, y, x), thinned."""
    setting = f"solver.parameters.viscosity={viscosity}"
    case = load_case("navier-stokes", (f"resolution={resolution}", *TIME, setting))
    solver = case.build_solver()
    drawn = [
        solver.sample(np.random.default_rng([TEST_SEED, i]))["initial_vorticity"]
        for i in range(count)
    ]
    start = np.stack(drawn)
    true = solver.solve({"initial_vorticity": start}).outputs["vorticity"]
    thin = np.s_[..., ::STRIDE, ::STRIDE]
    return (
        torch.from_numpy(start[thin]).float(),
        torch.from_numpy(true[thin]).float(),
    )


def error(predicted: Tensor, true: Tensor, surrogate: Surrogate) -> float:
    """Mean relative L2 error over samples."""
    return float(relative_l2(predicted, true, surrogate.domain).mean())


if __name__ == "__main__":
    main()
