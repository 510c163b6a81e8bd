"""Show hostile files to the command line: one line, code 2, quick, small, no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hostile_hdf5
import hostile_others

SECONDS = 5.0
MEBIBYTES = 512.0
MAIN = "from opkit.cli import main; main()"


@dataclass(frozen=True)
class Verdict:
    """How the command line took one file.

    Args:
        kind: of file.
        name: what is wrong with it.
        code: exit code.
        lines: of standard error.
        seconds: of processor time, of it and of its children; the less of two tries
            where the first is over the limit.
        mebibytes: largest resident memory of it or of any child of it; for .pt files
            beyond what importing torch takes (CUDA builds take about 670 MiB).
        harmed: whether the canary exists or something was left behind.
    """

    kind: str
    name: str
    code: int
    lines: tuple[str, ...]
    seconds: float
    mebibytes: float
    harmed: bool

    @property
    def passed(self) -> bool:
        """One line, exit code 2, under the limits, nothing executed or left."""
        one_line = self.code == 2 and len(self.lines) == 1 and not self.harmed
        return one_line and self.seconds < SECONDS and self.mebibytes < MEBIBYTES


def show(
    kind: str, name: str, arguments: Sequence[str], canary: Path, left: Path
) -> Verdict:
    """Run the command line on one file."""
    done, peak, seconds = watched(MAIN, *arguments)
    if seconds >= SECONDS:
        # modules compiled for the first time, and other work on a shared core, add to
        # processor time and never take from it
        done, peak, again = watched(MAIN, *arguments)
        seconds = min(seconds, again)
    return Verdict(
        kind,
        name,
        done.returncode,
        tuple(line for line in done.stderr.splitlines() if line.strip()),
        seconds,
        peak - (of_torch() if name.startswith("pt ") else 0.0),
        canary.exists() or left.exists(),
    )


@cache
def of_torch() -> float:
    """Resident memory in MiB of a process that imports torch and does nothing."""
    return watched("import torch")[1]


def watched(
    code: str, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], float, float]:
    """Run Python code in a process; say what memory it took, in MiB, and what time."""
    watch = (
        "import os, resource, subprocess, sys\n"
        "code = subprocess.call(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stdout)\n"
        "sys.exit(code if code >= 0 else 128 - code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch, sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    peak, seconds = done.stdout.split()[-2:]
    return done, int(peak) / 1024, float(seconds)


def battery(folder: Path, every: int = 1) -> Iterator[Verdict]:
    """Show files to the verb that would read them: all, or the first of n of a kind."""
    canary, out = folder / "canary", folder / "out.h5"
    number = 0

    def wanted() -> bool:
        nonlocal number
        number += 1
        return number % every == 1 % every

    for name, make in hostile_hdf5.FILES.items():
        if wanted():
            path = folder / f"{name.replace(' ', '-')}.h5"
            make(path)
            yield show("HDF5", name, ["inspect", str(path)], canary, out)
    number = 0
    for name, text in hostile_others.yaml_files(canary).items():
        if wanted():
            path = folder / "case.yaml"
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            yield show("YAML", name, _generate(path, out), canary, out)
    number = 0
    for name, writer in hostile_others.array_files(folder, canary).items():
        if wanted():
            path = writer()
            maps = ["--input", "a=a:sample,y,x", "--output", "u=a:sample,y,x"]
            words = ["import", str(out), "--train", str(path), *maps]
            yield show("npz, pt, mat, nc", name, words, canary, out)
    number = 0
    for name, (suffix, text) in hostile_others.mesh_files().items():
        if wanted():
            mesh, path = folder / f"mesh{suffix}", folder / "mesh.yaml"
            mesh.write_text(text)
            path.write_text(hostile_others.mesh_case(mesh))
            yield show("mesh", name, _generate(path, out), canary, out)


def _generate(path: Path, out: Path) -> list[str]:
    return ["generate", "case", str(path), "--out", str(out), "--samples", "3", "-q"]
