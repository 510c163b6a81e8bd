"""Stages of the measurements on a GPU: what runs, in which order, for how long.

    python -m benchmarks.gpu_stages STAGE FOLDER [WORD ...]    # gpu.sh calls it

A stage is a list of measurements. Each is a process of its own, so that a fault of one
(an illegal address takes the whole CUDA context along) does not end the others, and has
a budget of seconds. A stage ends after 480 s: a measurement that would begin later is
not run, one that takes longer than its budget is ended, and both are recorded as
skipped. FOLDER then holds stage-N.json, with the result of every measurement, and
stage-N.log, with all that they printed. A stage can be run again: its files are
overwritten. Words choose the measurements whose names hold one of them, for what was
skipped; the files then have the first word in their names. ``GPU_TINY=1`` in the
environment makes everything tiny, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 480.0
"""Seconds that a stage may take; a command on a lent machine has 600."""
LEAST = 15.0
"""A measurement does not begin with less time left: imports take most of that."""
PATIENCE = 6.0
"""Times the seconds of a stage and of its measurements, in the rehearsal."""
TAIL = 6  # lines of a failed measurement that are kept in the JSON


@dataclass(frozen=True)
class Measurement:
    """A command that writes its result as JSON to the file after ``--json``.

    Args:
        name: unique in its stage; the collector reads results by it.
        command: module of ``benchmarks`` (or ``pytest``) and arguments.
        seconds: its budget.
        tiny: what is added, and overrides earlier arguments, at tiny sizes.
        device: whether it takes ``--device``.
    """

    name: str
    command: tuple[str, ...]
    seconds: float
    tiny: tuple[str, ...] = ()
    device: bool = True

    def arguments(self, small: bool, result: Path) -> list[str]:
        """The whole command line."""
        module, *rest = self.command
        if module == "pytest":
            chosen = ["-m", "not gpu and not slow", *self.tiny]
            chosen = chosen if small else ["-m", "gpu", *rest]
            options = ("-q", "-p", "no:cacheprovider")
            return [sys.executable, "-m", "pytest", *options, *chosen]
        line = [sys.executable, "-m", f"benchmarks.{module}", *rest]
        if self.device:
            line += ["--device", "cpu" if small else "cuda"]
        return [*line, *(self.tiny if small else ()), "--json", str(result)]


ROWS = ("128g", "421g", "64", "421", "256g", "3d", "85", "128", "241", "64c", "1d")
"""Of benchmarks/spectral_conv.py, in order of value."""
COMPILED = ("128g", "421g", "64")
"""Also under torch.compile, which takes most of their time."""
SOLVERS = ("darcy", "navier-stokes", "quasi-geostrophic", "burgers")
RECIPES = (("darcy", "fno", 170.0), ("darcy", "lsm", 170.0))
FLOWS = (("navier-stokes-1e-5", "fno", 240.0),)


def _spectral() -> Iterator[Measurement]:
    for row in ROWS:
        more = ("--compiled",) if row in COMPILED else ()
        yield Measurement(
            f"row {row}",
            ("spectral_conv", "--rows", row, "--graphs", *more),
            110.0 if more else 60.0,
            ("--rows", "tiny", "--repeats", "1"),
        )


def _steps() -> Iterator[Measurement]:
    for row in ("64", "85", "241"):
        for amp in ("none", "bf16", "fp16"):
            yield Measurement(
                f"step {row} {amp}",
                ("fno_step", "--rows", row, "--amp", amp),
                60.0,
                ("--rows", "tiny", "--repeats", "1"),
            )
    yield Measurement(
        "training loop",
        ("training", "--points", "64", "85"),
        120.0,
        ("--points", "16", "--rounds", "1", "--width", "8", "--modes", "4"),
    )


def _solvers() -> Iterator[Measurement]:
    for name in SOLVERS:
        yield Measurement(f"solver {name}", ("gpu_measure", "solver", name), 110.0)


def _latency() -> Iterator[Measurement]:
    forms = {"eager": 40.0, "graphs": 40.0, "aoti": 140.0, "compiled": 90.0}
    for points in ("64", "85"):
        for form, seconds in forms.items():
            yield Measurement(
                f"latency {points} {form}",
                ("gpu_measure", "latency", form, "--points", points),
                seconds,
                ("--points", "16"),
            )


def _recipes() -> Iterator[Measurement]:
    for case, recipe, seconds in (*RECIPES, *FLOWS):
        yield Measurement(
            f"recipe {case} {recipe}",
            ("gpu_recipe", case, recipe, "--seconds", str(seconds - 20)),
            seconds,
        )


MARKED = (
    "tests/kernels/test_triton_gpu.py",
    "tests/solvers/darcy/test_iteration.py",
    "tests/operators/test_hypino.py",
)
"""Files with tests marked gpu; tests/base/test_gpu_day.py compares the names."""
STAGES: dict[int, tuple[Measurement, ...]] = {
    1: (
        Measurement("doctor", ("gpu_measure", "doctor"), 60.0),
        Measurement("kernels", ("gpu_measure", "kernels"), 150.0),
        Measurement(
            "tests",
            ("pytest", *MARKED),
            240.0,
            ("tests/kernels/test_spectral_conv_dispatch.py",),
            device=False,
        ),
    ),
    2: tuple(_spectral()),
    3: tuple(_steps()),
    4: tuple(_solvers()),
    5: tuple(_latency()),
    6: tuple(_recipes()),
    7: (
        Measurement("problems", ("gpu_measure", "problems"), 60.0),
        Measurement(
            "recipe manufactured hypino-base",
            ("gpu_recipe", "manufactured", "hypino-base", "--seconds", "330"),
            380.0,
        ),
    ),
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch
    import triton

    gpu = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "triton": triton.__version__,
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "tiny": tiny(),
        "date": time.strftime("%Y-%m-%d"),
        "time": time.time(),
    }


def tiny() -> bool:
    """Whether this is the rehearsal."""
    return os.environ.get("GPU_TINY", "") not in ("", "0")


def ended(process: subprocess.Popen[Any], seconds: float) -> int | None:
    """Wait; end the process and its children when the time is up, and return None."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return None


def run(item: Measurement, left: float, log: Any) -> dict[str, Any]:
    """Run one measurement within its budget and the seconds that are left."""
    entry: dict[str, Any] = {"name": item.name}
    if left < LEAST:
        return {**entry, "status": "skipped", "reason": "the stage's time is up"}
    allowed = min(item.seconds * (PATIENCE if tiny() else 1), left)
    with tempfile.TemporaryDirectory() as folder:
        result, output = Path(folder) / "result.json", Path(folder) / "output"
        command = item.arguments(tiny(), result)
        log.write(f"\n== {item.name}: {' '.join(command[2:])}\n")
        begin = time.monotonic()
        with output.open("w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            code = ended(process, allowed)
        entry["seconds"] = round(time.monotonic() - begin, 1)
        text = output.read_text(errors="replace")
        log.write(text)
        log.flush()
        tail = text.strip().splitlines()[-TAIL:]
        if result.exists():  # written in pieces by what takes long
            entry["result"] = json.loads(result.read_text())
        elif code == 0:
            entry["result"] = tail[-1] if tail else ""
    if code is None:
        return {
            **entry,
            "status": "skipped",
            "reason": f"stopped after {allowed:.0f} s",
        }
    if code:
        return {**entry, "status": "failed", "code": code, "reason": tail}
    return {**entry, "status": "done"}


def stage(
    number: int, folder: Path, words: Sequence[str] = (), limit: float = LIMIT
) -> list[dict[str, Any]]:
    """Run a stage; the JSON is written anew after each measurement."""
    begin = time.monotonic()
    limit *= PATIENCE if tiny() else 1
    folder.mkdir(parents=True, exist_ok=True)
    record = {"stage": number, "machine": machine(), "measurements": []}
    name = "-".join([f"stage-{number}", *words[:1]]).replace(" ", "-")
    chosen = [
        item
        for item in STAGES[number]
        if not words or any(word in item.name for word in words)
    ]
    with (folder / f"{name}.log").open("w") as log:
        for item in chosen:
            entry = run(item, limit - (time.monotonic() - begin), log)
            record["measurements"].append(entry)
            path = folder / f"{name}.json"
            path.write_text(json.dumps(record, indent=1))
            spent = f"{entry.get('seconds', 0):6.1f} s"
            print(f"{entry['status']:8}{spent}  {item.name}", flush=True)
            if entry["status"] != "done":
                print(f"{'':18}{entry['reason']}", flush=True)
    return record["measurements"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", type=int, choices=STAGES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args(arguments)
    entries = stage(options.stage, options.folder, options.words)
    failed = [entry["name"] for entry in entries if entry["status"] == "failed"]
    print(f"stage {options.stage}: {len(entries)} measurements, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
