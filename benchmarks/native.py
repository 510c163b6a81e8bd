"""Time and memory of one call of a surrogate, batch 1: Python, C, Fortran and HTTP.

    python -m benchmarks.native RUN [--calls 200] [--many 10000]

One run on one thread, rounds of every door in turn, the fastest call of each. What a
door takes beyond the fastest of all is not the network. With ``--many`` each of the
doors that outlive a call is asked so often once more, and the memory of the process
that answers is compared, after 500 calls and at the end.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import opkit
from benchmarks.serve import MAIN, asker, memory
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
    made.values = values  # which it would not hold by itself
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
        assert c.opkit_run(handle, ctypes.byref(given), 1, ctypes.byref(out), 1) == 0

    def check() -> None:
        assert first.values is bound
        words = ctypes.byref(given), 1, ctypes.byref(out), 1, verdict, parts
        assert c.opkit_check(handle, *words) == 0

    return {"C": run, "C, with verdict": check}


def through_fortran(
    library: Path, package: Path, x: np.ndarray, calls: int, many: int
) -> tuple[float, str]:
    folder = library.parent
    source = Path(__file__).parents[1] / "examples" / "fortran" / "transport.f90"
    link = [f"-L{folder}", "-lopkit", f"-Wl,-rpath,{folder}"]
    inside = f"-Wl,-rpath-link,{TORCH}/lib"
    words = ["gfortran", "-O2", native() / "opkit.f90", source, *link, inside]
    subprocess.run([*words, "-o", "transport"], cwd=folder, check=True)
    x.tofile(folder / "a0.f32")
    done = subprocess.run(
        [folder / "transport", package, "a0.f32", ".", str(calls), str(many)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"the fastest: +([\d.]+)", done.stdout)
    assert found is not None
    more = re.search(r"further calls: +(-?\d+)", done.stdout)
    return float(found[1]), more[1] if more else ""


@contextmanager
def served(run: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a server of the run."""
    words = [sys.executable, "-c", MAIN, "serve", str(run), "--port", "0", "--json"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        yield int(url.rpartition(":")[2]), server.pid
    finally:
        server.terminate()
        server.wait()


def growth(call: Callable, pid: int, many: int) -> str:
    """Kilobytes that a process holds more after so many calls."""
    for _ in range(500):
        call()
    before = memory(pid)
    for _ in range(many):
        call()
    return f"{1024 * (memory(pid) - before):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--many", type=int, default=0, help="calls for the memory")
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
    kept: dict[str, str] = {}
    with served(words.run) as (port, pid), torch.no_grad():
        vector = [x.ravel().tolist()]
        twelve = {"input": vector, "config": {"nodes": [*range(12)]}}
        http = {
            "HTTP, all values": asker(port, {"input": vector}),
            "HTTP, 12 values": asker(port, twelve),
        }
        doors |= http
        seconds: dict[str, list[float]] = {name: [] for name in doors}
        for round_ in range(words.calls + 10):
            for name, call in doors.items():
                start = time.perf_counter()
                call()
                if round_ >= 10:
                    seconds[name].append(time.perf_counter() - start)
        if words.many:
            for name in ("Python, opkit.load", "C", *http):
                who = pid if name in http else os.getpid()
                kept[name] = growth(doors[name], who, words.many)
    rows = {name: 1e3 * min(times) for name, times in seconds.items()}
    rows["Fortran"], kept["Fortran"] = through_fortran(
        library, package, x, words.calls, words.many
    )
    alone = min(rows.values())
    print(f"grid {x.shape[2:]}, {words.calls} calls, load {os.getloadavg()[0]:.1f}\n")
    print(f"| door | ms per call | not the network | kB more, {words.many} calls |")
    print("|---|---|---|---|")
    for name, value in rows.items():
        more = kept.get(name, "")
        print(f"| {name} | {value:.3f} | {1 - alone / value:.0%} | {more} |")


if __name__ == "__main__":
    main()
