"""Generation: samples a second with 1 and 2 workers, and what writing costs of it.

    python -m benchmarks.data_generation [CASE ...] [--resolution N] [--samples N]
        [--workers N ...] [--shard-samples N]

Writing is the time for which a worker waits until its rows are taken and its shard is
hashed, synced and renamed, averaged over workers, plus that from the last shard to the
finished file, for which all of them wait; its share is over the sum of this and of the
time for solving. What is done beside the solving, by a thread of each worker and by
that which puts the file together, is counted in processor time: its share is over the
sum of this and of the solvers' processor time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opkit.case import load_case
from opkit.case.record import Case
from opkit.datasets.card import card
from opkit.generate import Progress, generate
from opkit.generate.assemble import Assembler
from opkit.generate.manifest import Manifest
from opkit.generate.shard import Shard


class Stopwatch:
    """Adds up what processes report, and times the end, while a generation runs."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.end = 0.0

    def watch(self) -> Callable[[], None]:
        """Listen to the manifest and the file; return a function that stops it."""
        add, finish = Manifest.add, Assembler.finish

        def listen(manifest: Manifest, shard: Shard) -> None:
            for name, value in asdict(shard).items():
                if name.endswith("_seconds"):
                    self.seconds[name] += value
            add(manifest, shard)

        def listen_at_the_end(file: Assembler) -> None:
            finish(file)
            self.seconds["file_processor_seconds"] = file.processor_seconds

        Manifest.add = listen  # type: ignore[assignment,method-assign]
        Assembler.finish = listen_at_the_end  # type: ignore[assignment,method-assign]

        def stop() -> None:
            Manifest.add = add  # type: ignore[method-assign]
            Assembler.finish = finish  # type: ignore[method-assign]

        return stop


def measure(case: Case, samples: int, workers: int, out: Path) -> dict[str, Any]:
    """Generate once."""
    clock = Stopwatch()
    stop = clock.watch()
    started = time.perf_counter()

    def listen(progress: Progress) -> None:
        if progress.stage != "solving":
            clock.end = -time.perf_counter()

    try:
        generate(case, out, samples=samples, workers=workers, progress=listen)
    finally:
        stop()
    clock.end += time.perf_counter()
    wall = time.perf_counter() - started
    storage = card(out)["storage"]
    out.unlink()
    spent = clock.seconds
    waiting = spent["write_seconds"] / workers + clock.end
    solving = spent["solve_seconds"] / workers
    busy = spent["write_processor_seconds"] + spent["file_processor_seconds"]

    def ms(total: float) -> float:
        return round(1e3 * total / samples, 2)

    def share(writing: float, solving: float) -> float:
        return round(100 * writing / (solving + writing), 2)

    return {
        "case": f"{case.name} {'x'.join(map(str, case.shape))}",
        "samples": samples,
        "workers": workers,
        "seconds": round(wall, 2),
        "samples/s": round(samples / wall, 1),
        "waiting for shards, ms a sample": ms(spent["write_seconds"]),
        "for the file": ms(clock.end),
        "writing %": share(waiting, solving),
        "processor ms a sample: solving": ms(spent["solve_processor_seconds"]),
        "shards": ms(spent["write_processor_seconds"]),
        "file": ms(spent["file_processor_seconds"]),
        "writing % of it": share(busy, spent["solve_processor_seconds"]),
        "bytes / raw float32": round(storage["ratio"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["darcy"])
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--shard-samples", type=int, help="as of a larger data set")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    sizes = [f"resolution={options.resolution}"] if options.resolution else []
    if options.shard_samples:
        module = importlib.import_module("opkit.generate.planning")
        vars(module)["SHARDS"] = options.samples // options.shard_samples
    folder = Path(tempfile.mkdtemp())
    for name in options.cases:
        case = load_case(name, tuple(sizes))
        for workers in options.workers:
            row = measure(case, options.samples, workers, folder / "data.h5")
            print(json.dumps(row), flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
