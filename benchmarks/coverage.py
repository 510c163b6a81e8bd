"""Do the bounds of quantities of interest hold as often as promised?

    python -m benchmarks.coverage FOLDER [--repeats 10] [--fresh 500]

Darcy flow over ten numbers on a coarse grid, learnt by pod-gp. Each repeat has data of
its own: samples to learn from, to choose with, to calibrate on, and ``fresh`` ones that
nothing was done with. For each quantity, and for the relative L2 error of the field,
the samples whose true error is at most the bound are counted, for promises of 90 and
95 %.

Given its n calibration samples, the coverage of a bound is no fixed number: it is
Beta(k, n + 1 - k) distributed, k = ⌈(n + 1) coverage⌉, so the count among m fresh
samples is beta-binomial. Printed are, for the first repeat, counts with their
Clopper-Pearson intervals (95 %) beside the 95 % interval of that law, and over all
repeats the mean beside its expectation k / (n + 1) and standard deviation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import beta, betabinom

import opkit
from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.case.record import Case
from opkit.datasets.field_dataset import collate
from opkit.metrics.functional import relative_l2
from opkit.operators.inputs import Inputs
from opkit.surrogate.checks import conformal
from opkit.surrogate.checks.interface import Pairs
from opkit.surrogate.checks.quantities import Quantities, quantity_errors

PROMISES = (0.9, 0.95)
QUANTITIES = """quantities={
    mean: {kind: mean, of: pressure},
    corner: {kind: integral, of: pressure, inside: {x: [0, 0.25], y: [0, 0.25]}},
    largest: {kind: maximum, of: pressure},
    probe: {kind: value, of: pressure, at: [0.3, 0.6]}
}"""
FIELD = "field, relative L2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--fresh", type=int, default=500)
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--validation", type=int, default=100, help="half calibrates")
    parser.add_argument("--resolution", type=int, default=17)
    parser.add_argument("--operator", default="pod-gp")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "train": options.train,
        "validation": options.validation,
        "test": options.fresh,
    }
    case = load_case(
        "darcy-parametric",
        (
            f"resolution={options.resolution}",
            QUANTITIES,
            *(f"samples.{split}={n}" for split, n in sizes.items()),
        ),
    )
    rows = Rows(options.folder / "rows.json")
    repeats = [
        rows.row(f"repeat {i}", lambda i=i: one(case, i, options))
        for i in range(options.repeats)
    ]
    print_first(repeats[0])
    print_all(repeats)
    seconds = sum(row["seconds"] for row in repeats)
    print(f"{options.operator}, {seconds:.0f} processor seconds of training")
    print_machine(rows)


def one(case: Case, repeat: int, options: argparse.Namespace) -> Row:
    """Counts of one repeat: by promise and name, how many bounds hold."""
    data = data_file(case, options.folder / f"{repeat}.h5", 1 + repeat)
    run = options.folder / f"run-{repeat}"
    surrogate, seconds = trained(data, run, options.operator, options.set, repeat)
    samples = surrogate.samples(data, "test")
    batch = collate(samples.__getitems__(list(range(len(samples)))))
    inputs, true = Inputs.of(batch), batch["outputs"]
    predicted = surrogate.predict(inputs)
    pairs, quantities = Pairs(inputs, true), Quantities(surrogate.context)
    errors = {
        name: values[:, 0]
        for name, values in quantity_errors(quantities, pairs, predicted).items()
    }
    errors[FIELD] = relative_l2(predicted, true, surrogate.domain).numpy()
    held: dict[str, dict[str, int]] = {}
    for promise in PROMISES:
        verdict = surrogate.checker.judge(inputs, predicted, promise)
        bounds = {name: q.error_bound for name, q in verdict.quantities.items()}
        bounds[FIELD] = verdict.error_bound
        held[str(promise)] = {
            name: int((errors[name] <= bound).sum()) for name, bound in bounds.items()
        }
    calibration = surrogate.calibration
    assert calibration is not None
    return {
        "held": held,
        "fresh": len(true),
        "calibrated": calibration.record.samples,
        "powers": calibration.record.powers,
        "error": float(errors[FIELD].mean()),
        "seconds": seconds,
        "version": opkit.__version__,
    }


def law(row: Row, promise: float) -> tuple[int, int, int]:
    """m, k and n + 1 - k: the count is beta-binomial with these."""
    n = row["calibrated"]
    k = conformal.rank(n, promise)
    return row["fresh"], k, n + 1 - k


def interval(held: int, count: int) -> tuple[float, float]:
    """Clopper-Pearson interval of a share, 95 %."""
    low = beta.ppf(0.025, held, count - held + 1) if held else 0.0
    high = beta.ppf(0.975, held + 1, count - held) if held < count else 1.0
    return float(low), float(high)


def print_first(row: Row) -> None:
    """Shares of the first repeat, and where they may lie."""
    print(
        f"{row['calibrated']} calibration samples, {row['fresh']} fresh ones, "
        f"error {100 * row['error']:.2f} %, powers {row['powers']}\n"
    )
    print("| quantity | promised | held | share | Clopper-Pearson | of the law |")
    print("|---|---|---|---|---|---|")
    for promise in PROMISES:
        m, k, others = law(row, promise)
        expected = [betabinom.ppf(q, m, k, others) / m for q in (0.025, 0.975)]
        for name, held in row["held"][str(promise)].items():
            low, high = interval(held, m)
            print(
                f"| {name} | {promise:g} | {held} of {m} | {held / m:.3f} | "
                f"{low:.3f} to {high:.3f} | {expected[0]:.3f} to {expected[1]:.3f} |"
            )


def print_all(repeats: list[Row]) -> None:
    """Mean share over the repeats, with its deviation from what the law expects."""
    count = len(repeats)
    print(f"\n| quantity | promised | mean of {count} | law | smallest, largest |")
    print("|---|---|---|---|---|")
    for promise in PROMISES:
        m, k, others = law(repeats[0], promise)
        mean, variance = betabinom.stats(m, k, others, moments="mv")
        spread = np.sqrt(variance / count) / m
        for name in repeats[0]["held"][str(promise)]:
            shares = [row["held"][str(promise)][name] / m for row in repeats]
            print(
                f"| {name} | {promise:g} | {np.mean(shares):.3f} | "
                f"{mean / m:.3f} ± {spread:.3f} | "
                f"{min(shares):.3f}, {max(shares):.3f} |"
            )


if __name__ == "__main__":
    main()
