"""Time solvers against peers: interleaved in one process, medians, accuracy beside.

Modules beside this one (solvers_navier_stokes.py, ...) list what competes as data and
call `compare`.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contender:
    """Something that is timed.

    Args:
        name: what the table says.
        run: does the work once.
        units: how much of the table's unit one run does.
        error: of its results, as text.
    """

    name: str
    run: Callable[[], object]
    units: float
    error: str = ""


def compare(
    title: str, unit: str, contenders: Sequence[Contender], repeats: int = 7
) -> dict[str, float]:
    """Time every contender once a round, in turn; print and return medians.

    Args:
        title: heading.
        unit: what is counted, such as ``"trajectory-step"``.
        contenders: the first one is what the others are compared with.
        repeats: rounds.

    Returns:
        Seconds per unit, by name.
    """
    for contender in contenders:
        contender.run()  # compile, plan, fill caches
    before = os.getloadavg()[0]
    times: dict[str, list[float]] = {c.name: [] for c in contenders}
    for _ in range(repeats):
        for contender in contenders:
            start = time.perf_counter()
            contender.run()
            elapsed = time.perf_counter() - start
            times[contender.name].append(elapsed / contender.units)
    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = medians[contenders[0].name]
    print(f"\n{title}: medians of {repeats} rounds; {machine()}, load {before:.1f}")
    width = max(len(c.name) for c in contenders)
    print(f"{'':{width}s}  {'ms/' + unit:>22s} {'fastest':>10s} {'ratio':>8s}  error")
    for contender in contenders:
        median, best = medians[contender.name], min(times[contender.name])
        print(
            f"{contender.name:{width}s}  {1e3 * median:22.5g} {1e3 * best:10.4g} "
            f"{reference / median:8.4g}  {contender.error}"
        )
    return medians


def machine() -> str:
    """Describe the processor in a few words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{os.cpu_count()} cores of {model}"
