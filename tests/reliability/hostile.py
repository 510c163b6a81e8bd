"""Show hostile files to the command line: one line, code 2, quick, small, no harm."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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
        seconds: until it ended.
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
    start = time.monotonic()
    done, peak = watched(MAIN, *arguments)
    return Verdict(
        kind,
        name,
        done.returncode,
        tuple(line for line in done.stderr.splitlines() if line.strip()),
        time.monotonic() - start,
        peak - (of_torch() if name.startswith("pt ") else 0.0),
        canary.exists() or left.exists(),
    )


@cache
def of_torch() -> float:
    """Resident memory in MiB of a process that imports torch and does nothing."""
    return watched("import torch")[1]


def watched(
    code: str, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run Python code in a process, and say how much memory it took in MiB."""
    watch = (
        "import os, resource, subprocess, sys\n"
        "code = subprocess.call(sys.argv[1:])\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(peak, file=sys.stdout)\n"
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
    return done, int(done.stdout.split()[-1]) / 1024


def battery(folder: Path, every: int = 1) -> Iterator[Verdict]:
    """Show every file, or each n-th, to the verb that would read it."""
    canary, out = folder / "canary", folder / "out.h5"
    number = 0

    def wanted() -> bool:
        nonlocal number
        number += 1
        return number % every == 0

    for name, make in hostile_hdf5.FILES.items():
        if wanted():
            path = folder / f"{name.replace(' ', '-')}.h5"
            make(path)
            yield show("HDF5", name, ["inspect", str(path)], canary, out)
    for name, text in hostile_others.yaml_files(canary).items():
        if wanted():
            path = folder / "case.yaml"
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            yield show("YAML", name, _generate(path, out), canary, out)
    for name, path in hostile_others.array_files(folder, canary).items():
        if wanted():
            maps = ["--input", "a=a:sample,y,x", "--output", "u=a:sample,y,x"]
            words = ["import", str(out), "--train", str(path), *maps]
            yield show("npz, pt, mat, nc", name, words, canary, out)
    for name, (suffix, text) in hostile_others.mesh_files().items():
        if wanted():
            mesh, path = folder / f"mesh{suffix}", folder / "mesh.yaml"
            mesh.write_text(text)
            path.write_text(hostile_others.mesh_case(mesh))
            yield show("mesh", name, _generate(path, out), canary, out)


def _generate(path: Path, out: Path) -> list[str]:
    return ["generate", "case", str(path), "--out", str(out), "--samples", "3", "-q"]
