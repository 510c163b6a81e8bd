"""Time of one call of a surrogate, batch 1, through Python, C and Fortran.

    python -m benchmarks.native RUN [--calls 200]

One run on one thread, rounds of every door in turn, the fastest call of each. What a
door takes beyond the fastest of all is not the network. HTTP is measured by
`benchmarks.serve`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import opkit
from opkit.export import native
from opkit.export.compare import real_inputs

TORCH = Path(torch.__file__).parent
PLACES = [f"-I{TORCH}/include", f"-I{TORCH}/include/torch/csrc/api/include"]
LINK = [f"-L{TORCH}/lib", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{TORCH}/lib"]


class Array(ctypes.Structure):
    """opkit_array of opkit.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 8),
    ]


def array(values: np.ndarray) -> Array:
    shape = (ctypes.c_int64 * 8)(*values.shape)
    made = Array(values.ctypes.data, 1, values.ndim, shape)
    made.values = values  # which it does not keep alive by itself
    return made


def build(folder: Path) -> Path:
    library = folder / "libopkit.so"
    if not library.exists():
        words = ["g++", "-std=c++20", "-O2", "-shared", "-fPIC", *PLACES]
        source = native() / "opkit.cpp"
        kept = ["-Wl,--no-as-needed", *LINK]
        subprocess.run([*words, source, "-o", library, *kept], check=True)
    return library


def through_c(library: Path, package: Path, x: np.ndarray) -> dict[str, Callable]:
    c, handle, y = ctypes.CDLL(str(library)), ctypes.c_int64(), np.zeros_like(x)
    assert c.opkit_open(str(package).encode(), ctypes.byref(handle)) == 0
    given, out = array(x), array(y)
    bound = np.zeros(len(x), np.float32)
    count = ctypes.create_string_buffer(600)
    assert c.opkit_describe(handle, 3, 0, count) == 0
    parts = ctypes.c_int32.from_buffer(count, 516).value
    verdict, first = (Array * parts)(), array(bound)
    verdict[0] = first

    def run() -> None:
        assert c.opkit_run(handle, ctypes.byref(given), 1, ctypes.byref(out)) == 0

    def check() -> None:
        assert first.values is bound
        words = ctypes.byref(given), 1, ctypes.byref(out), verdict, parts
        assert c.opkit_check(handle, *words) == 0

    return {"C": run, "C, with verdict": check}


def through_fortran(library: Path, package: Path, x: np.ndarray, calls: int) -> float:
    folder = library.parent
    source = Path(__file__).parents[1] / "examples" / "fortran" / "transport.f90"
    link = [f"-L{folder}", "-lopkit", f"-Wl,-rpath,{folder}"]
    inside = f"-Wl,-rpath-link,{TORCH}/lib"
    words = ["gfortran", "-O2", native() / "opkit.f90", source, *link, inside]
    subprocess.run([*words, "-o", "transport"], cwd=folder, check=True)
    x.tofile(folder / "a0.f32")
    done = subprocess.run(
        [folder / "transport", package, "a0.f32", ".", str(calls)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"the fastest: +([\d.]+)", done.stdout)
    assert found is not None
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--package", type=Path, help="made where not given")
    parser.add_argument("--library", type=Path, help="libopkit.so, built if not given")
    words = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    package = words.package or folder / "model-aoti.pt2"
    if not package.exists():
        opkit.export(words.run, "aoti", package)
    package = package.resolve()
    library = (words.library or build(folder)).resolve()
    surrogate = opkit.load(words.run)
    given = real_inputs(words.run, surrogate.config).fields[:1].contiguous()
    x = given.numpy()
    compiled = torch._inductor.aoti_load_package(str(package))
    judged = surrogate.without_solver()

    doors: dict[str, Callable] = {
        "Python, the package by torch": lambda: compiled(given),
        "Python, opkit.load": lambda: surrogate(x),
        "Python, with a check without solver": lambda: judged(x, check=True),
        **through_c(library, package, x),
    }
    seconds: dict[str, list[float]] = {name: [] for name in doors}
    with torch.no_grad():
        for round_ in range(words.calls + 10):
            for name, call in doors.items():
                start = time.perf_counter()
                call()
                if round_ >= 10:
                    seconds[name].append(time.perf_counter() - start)
    rows = {name: 1e3 * min(times) for name, times in seconds.items()}
    rows["Fortran"] = through_fortran(library, package, x, words.calls)
    alone = min(rows.values())
    print(f"grid {x.shape[2:]}, {words.calls} calls, load {os.getloadavg()[0]:.1f}\n")
    print("| door | ms a call | beyond the fastest |\n|---|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value:.3f} | {1 - alone / value:.0%} |")


if __name__ == "__main__":
    main()
