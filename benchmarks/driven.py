"""A rod driven by the temperature of one end: step by step, or all of it at once.

    python -m benchmarks.driven FOLDER

`heat-driven` on 33 points with ten records, learnt by FNOs in the three modes of a
recipe. Printed are the relative L2 errors on the test samples, over all
records and of the last one, and the processor seconds of training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.datasets.field_dataset import collate
from opkit.metrics.functional import relative_l2
from opkit.operators.inputs import Inputs

FNO = ("training.batch_size=20", "model.hidden_channels=32", "model.n_layers=3")
SETTINGS: dict[str, tuple[str, ...]] = {
    "step": (*FNO, "mode=autoregressive", "model.n_modes=[16]", "training.unroll=4"),
    "space-time": (*FNO, "mode=space-time", "model.n_modes=[5,16]"),
    "map": (*FNO, "mode=map", "model.n_modes=[16]"),
}
"""By row of the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="*", default=list(SETTINGS))
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--validation", type=int, default=50)
    parser.add_argument("--test", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    sizes = {k: getattr(options, k) for k in ("train", "validation", "test")}
    changes = [f"samples.{split}={count}" for split, count in sizes.items()]
    changes += ["resolution=33", "solver.parameters.records=10"]
    changes += ["solver.parameters.record_interval=0.1"]
    case = load_case("heat-driven", tuple(changes))
    data = data_file(case, options.folder / "rod.h5", 1)
    print("| learnt | parameters | all records | the last one | seconds |")
    print("|---|---|---|---|---|")
    for name in options.rows:
        row = rows.row(name, lambda n=name: one(data, n, options.epochs))
        every = f"{100 * row['all']:.2f} %" if row["all"] is not None else "-"
        print(
            f"| {name} | {row['parameters']:,} | {every} | {100 * row['last']:.2f} % "
            f"| {row['seconds']:.0f} |",
            flush=True,
        )
    print_machine(rows)


def one(data: Path, name: str, epochs: int) -> Row:
    """Train, and measure on the test samples."""
    settings = (
        *SETTINGS[name],
        f"training.epochs={epochs}",
        "training.learning_rate=2e-3",
        "training.schedule=onecycle",
    )
    surrogate, seconds = trained(data, data.with_name(name), "fno", settings, 0)
    samples = surrogate.samples(data, "test")
    batch = collate(samples.__getitems__(list(range(len(samples)))))
    target = batch["outputs"]
    steps = target.shape[1] if surrogate.config.history else 1
    predicted = surrogate.predict(Inputs.of(batch), steps)
    if name == "space-time":  # (sample, channel, time, x), the initial state first
        predicted, target = (u.transpose(1, 2)[:, 1:] for u in (predicted, target))
    elif not surrogate.config.history:
        predicted, target = predicted[:, None], target[:, None]
    return {
        "all": _error(predicted, target) if target.shape[1] > 1 else None,
        "last": _error(predicted[:, -1:], target[:, -1:]),
        "seconds": seconds,
        "parameters": surrogate.config.provenance.parameters,
    }


def _error(predicted: Tensor, target: Tensor) -> float:
    """Mean relative L2 error of (sample, record, channel, x)."""
    pair = (u.flatten(0, 1) for u in (predicted, target))
    return float(relative_l2(*pair).mean())


if __name__ == "__main__":
    main()
