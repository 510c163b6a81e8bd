"""Generation: samples a second with 1 and 2 workers, and what writing costs of it.

    python -m benchmarks.data_generation [CASE ...] [--resolution N] [--samples N]
        [--workers N ...]

Writing is the time that a worker spends on building, hashing, writing and syncing its
shards, averaged over workers, plus that of the final file, for which all of them
wait. Its share is over the sum of this and of the time for solving.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opkit.case import Case, load_case
from opkit.datasets.card import card
from opkit.generate import Progress, generate
from opkit.generate import run as run_module


class Stopwatch:
    """Adds up what shards report, and times the assembly, while a generation runs."""

    def __init__(self) -> None:
        self.solve = self.write = self.assembly = 0.0

    def watch(self) -> Callable[[], None]:
        """Listen to the manifest; return a function that stops listening."""
        add = run_module.Manifest.add

        def listen(manifest: Any, made: Any) -> None:
            self.solve += made.solve_seconds
            self.write += made.write_seconds
            add(manifest, made)

        run_module.Manifest.add = listen  # type: ignore[method-assign]

        def stop() -> None:
            run_module.Manifest.add = add  # type: ignore[method-assign]

        return stop


def measure(case: Case, samples: int, workers: int, out: Path) -> dict[str, Any]:
    """Generate once."""
    clock = Stopwatch()
    stop = clock.watch()
    started = time.perf_counter()

    def listen(progress: Progress) -> None:
        if progress.stage != "solving":
            clock.assembly = -time.perf_counter()

    try:
        generate(case, out, samples=samples, workers=workers, progress=listen)
    finally:
        stop()
    clock.assembly += time.perf_counter()
    wall = time.perf_counter() - started
    storage = card(out)["storage"]
    out.unlink()
    writing, solving = clock.write / workers + clock.assembly, clock.solve / workers
    return {
        "case": f"{case.name} {'x'.join(map(str, case.shape))}",
        "samples": samples,
        "workers": workers,
        "seconds": round(wall, 2),
        "samples/s": round(samples / wall, 1),
        "shards ms a sample": round(1e3 * clock.write / samples, 2),
        "file ms a sample": round(1e3 * clock.assembly / samples, 2),
        "writing %": round(100 * writing / (solving + writing), 2),
        "bytes / raw float32": round(storage["ratio"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["darcy"])
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    sizes = [f"resolution={asked.resolution}"] if asked.resolution else []
    folder = Path(tempfile.mkdtemp())
    for name in asked.cases:
        case = load_case(name, tuple(sizes))
        for workers in asked.workers:
            row = measure(case, asked.samples, workers, folder / "data.h5")
            print(json.dumps(row), flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
