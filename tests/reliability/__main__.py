"""Run the reliability batteries in full and print the table of docs/reliability.md.

    python tests/reliability [NAME ...] [--kind K ...] [--scale S] [--seed N]
        [--save FILE]

NAME: kills workers points signals full writers space
races pairs corruption headers records values hostile mutated numbers odd
(default: all). With --kind only these kinds of mutated files, or verbs.
With --save the counts are added to those in FILE, so that long batteries can run in
portions; the table printed is of the sum.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "plugin")]

import corruption  # noqa: E402
import edited_records  # noqa: E402
import edited_values  # noqa: E402
import full_disks  # noqa: E402
import headers  # noqa: E402
import hostile  # noqa: E402
import kills  # noqa: E402
import mutated  # noqa: E402
import odd_numbers  # noqa: E402
import odd_places  # noqa: E402
import processes  # noqa: E402
import races  # noqa: E402

Counts = dict[str, dict[str, float]]


def run(
    name: str, folder: Path, scale: float, seed: int, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict]]:
    """Run one battery and yield its rows."""

    def many(full: int) -> int:
        return max(1, round(scale * full))

    if name == "kills":
        yield "kill -9 at a random moment", kills.main_kills(folder, many(200), seed)
    elif name == "workers":
        yield "kill -9 of a worker", kills.worker_kills(folder, many(50), seed)
    elif name == "points":
        yield from kills.point_kills(folder, many(10))
    elif name == "signals":
        yield "SIGINT, SIGTERM", kills.signals(folder, many(20), seed)
    elif name == "full":
        yield "disk full", kills.disk_full(folder, many(10))
    elif name == "writers":
        for verb, outcomes in full_disks.battery(folder, many(10), only):
            yield f"file sizes limited: {verb}", outcomes
    elif name == "space":
        for verb, outcomes in full_disks.battery(folder, many(10), only, disk=True):
            yield f"disk full: {verb}", outcomes
    elif name == "races":
        yield "two writers, HDF5 locks on and off", kills.two_writers(folder, many(10))
    elif name == "pairs":
        for pair, outcomes in races.battery(folder, many(10), seed, only):
            yield f"at once: {pair}", outcomes
    elif name == "corruption":
        counts = {k: 2 * many(n // 2) for k, n in corruption.FULL.items()}
        yield from corruption.battery(folder, counts, seed)
    elif name == "headers":
        verbs = [lambda p: ["inspect", str(p)], lambda p: ["validate", str(p)]]
        results = headers.battery(folder, many(300), verbs, seed)
        yield "edited headers, inspect and validate", results
    elif name == "records":
        for kind, outcomes in edited_records.battery(folder, many(300), seed, only):
            yield f"edited {kind}", outcomes
    elif name == "values":
        for kind, outcomes in edited_values.battery(folder, many(300), seed, only):
            yield f"edited numbers, digests made right: {kind}", outcomes
    elif name == "numbers":
        for kind, outcomes in odd_numbers.battery(folder, many(300), seed, only):
            yield f"odd numbers: {kind}", outcomes
    elif name == "odd":
        yield from odd_places.battery(folder, scale, seed, only)
    elif name == "mutated":
        for kind, outcomes in mutated.battery(folder, many(300), seed, only):
            yield f"mutated {kind}", outcomes
    elif name == "hostile":
        yield from _hostile(folder, round(1 / scale))


def _hostile(folder: Path, every: int) -> Iterator[tuple[str, dict]]:
    verdicts = list(hostile.battery(folder, every))
    for verdict in verdicts:
        if not verdict.passed:
            print(verdict, file=sys.stderr)
    for kind in dict.fromkeys(v.kind for v in verdicts):
        of_kind = [v for v in verdicts if v.kind == kind]
        yield (
            f"hostile {kind}",
            {
                "files": len(of_kind),
                "one line, exit code 2, no harm, within limits": sum(
                    v.passed for v in of_kind
                ),
                "largest s": round(max(v.seconds for v in of_kind), 1),
                "largest MiB": round(max(v.mebibytes for v in of_kind)),
            },
        )


def add(total: Counts, name: str, row: dict[str, float]) -> None:
    """Add counts; of what is called largest or most, keep the largest."""
    old = total.setdefault(name, {})
    for key, value in row.items():
        worst = key.startswith(("largest", "most"))
        old[key] = max(old.get(key, 0), value) if worst else old.get(key, 0) + value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    every = ["kills", "workers", "points", "signals", "full", "writers", "space"]
    every += [
        "races",
        "pairs",
        "corruption",
        "headers",
        "records",
        "values",
        "hostile",
        "mutated",
    ]
    every += ["numbers", "odd"]
    parser.add_argument("names", nargs="*", choices=[*every, []], default=every)
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    processes.install_plugin()
    saved = options.save is not None and options.save.exists()
    total: Counts = json.loads(options.save.read_text()) if saved else {}
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            rows = run(
                name, Path(folder), options.scale, options.seed, tuple(options.kind)
            )
            for row, counts in rows:
                add(total, row, counts)
                if options.save:
                    options.save.write_text(json.dumps(total, indent=1))
    cells = [
        (name, ", ".join(f"{k} {v}" for k, v in row.items()))
        for name, row in total.items()
    ]
    print(processes.table(cells, ("battery", "counts")))


if __name__ == "__main__":
    main()
