"""Does a surrogate pay, whatever data were drawn?

    python -m benchmarks.pays FOLDER [--cases channel-bumps ...] [--draws 3]

For each case, each draw has data of its own (seeds 1, 2, ...), a surrogate trained on
them with that seed, and what `opkit evaluate --pays` measures, on one thread.
Printed are each draw, and the mean over draws with the largest distance from it.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

import opkit
from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.evaluate.pays import measure

COLUMNS = {
    "error": "relative L2 of the split",
    "milliseconds": "prediction, ms",
    "full": "full solve, s",
    "ratio": "times at equal error",
    "exact": "exact answer, times",
    "rival": "exact answer over the fastest as accurate, times",
    "against_exact": "queries against full solves",
    "against_rival": "queries against equal error",
    "training": "training, s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--cases", nargs="+", default=["channel-bumps", "hyperelastic-cell-strain"]
    )
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--samples", type=int, default=300, help="of all splits")
    parser.add_argument("--operator", default="pod-gp")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe")
    parser.add_argument("--wall-clock", action="store_true", help="on a calm machine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    for case in options.cases:
        draws = [
            rows.row(f"{case} {seed}", partial(one, case, seed, options))
            for seed in range(1, 1 + options.draws)
        ]
        print_case(case, draws)
    print_machine(rows)


def one(name: str, seed: int, options: argparse.Namespace) -> Row:
    """What `--pays` says of the surrogate of one draw."""
    path = options.folder / f"{name}-{seed}.h5"
    data = data_file(load_case(name), path, seed, samples=options.samples)
    run = options.folder / f"{name}-{seed}-{options.operator}"
    surrogate, seconds = trained(data, run, options.operator, options.set, seed)
    pays = measure(surrogate, data, processor_time=not options.wall_clock)
    full, exact, back = pays.rungs[0].seconds, pays.exact, pays.break_even
    rival = exact.rival_seconds
    return {
        "error": pays.relative_l2_of_split,
        "milliseconds": 1e3 * pays.seconds,
        "full": full,
        "ratio": pays.ratio,
        "exact": exact.ratio,
        "rival": rival / exact.seconds if rival and exact.seconds else None,
        "against_exact": back.against_exact,
        "against_rival": back.against_rival,
        "training": seconds,
        "verdict": pays.verdict,
        "version": opkit.__version__,
    }


def print_case(case: str, draws: list[Row]) -> None:
    heads = [f"draw {i}" for i in range(1, 1 + len(draws))]
    print(f"\n| {case} | {' | '.join(heads)} | mean |")
    print("|---|" + "---|" * (1 + len(draws)))
    for key, label in COLUMNS.items():
        values = [row[key] for row in draws]
        cells = ["-" if v is None else f"{v:.3g}" for v in values]
        known = [v for v in values if v is not None]
        mean = sum(known) / max(1, len(known))
        spread = max((abs(v - mean) for v in known), default=0.0)
        print(f"| {label} | {' | '.join(cells)} | {mean:.3g} ± {spread:.2g} |")
    print("\n".join(row["verdict"] for row in draws))


if __name__ == "__main__":
    main()
