"""Flip bits, cut and blank data files; count wrong answers that nobody noticed.

Each damaged copy is opened and verified in a forked child under the limits that
`opkit.base.sandbox` sets for its own children.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError

SECONDS, WALL = 30, 300  # of processor time, and in all
SAME, REFUSED, SILENT, CRASHED, HUNG = "same", "refused", "silent", "crashed", "hung"
Span = tuple[int, int]


def make(path: Path, gzip: int) -> None:
    """Write a small data file with two variables, time, and all kinds of metadata."""
    rng = np.random.default_rng(0)
    n, t, s = 20, 3, 32
    axis = Axis(np.linspace(0, 1, s), "m", "position")
    case = {"title": "damage me", "solver": {"parameters": {"viscosity": 1e-3}}}
    variables = (
        VariableSpec("forcing", "input", ("y", "x"), (s, s)),
        VariableSpec("vorticity", "output", ("time", "y", "x"), (t, s, s), units="1/s"),
    )
    splits = {"train": np.arange(15), "test": np.arange(15, n)}
    axes = {"time": Axis(np.arange(1.0, t + 1), "s"), "y": axis, "x": axis}
    header = Header(case, variables, axes, splits, 7, {"opkit": "test"})
    fields = {
        v.name: rng.normal(size=(n, *v.shape)).astype(np.float32) for v in variables
    }
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header, ["error"], "relative residual", gzip)
        writer.put(slice(0, n), np.arange(n), fields, {"error": rng.random(n)})
        writer.finish()


def everything(path: Path) -> str:
    """A digest of all that opkit reads from a file."""
    with DataFile(path, trusted=True) as file:
        assert sum(1 for _ in file.verify()) == len(file)
        arrays = [file.read(v.name, slice(None)) for v in file.header.variables]
        arrays += [axis.values for axis in file.header.coordinates.values()]
        arrays += [*file.header.splits.values(), *file.diagnostics().values()]
        text = repr((file.header.describe(), file.measure, file.content_hash()))
        return text + "".join(a.tobytes().hex() for a in arrays)


def outcome(path: Path, reference: str) -> str:
    """Read a file in a child with limits and say what came of it."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = 0 if everything(path) == reference else 1
        except DataError as error:
            code = 2 if "\n" not in str(error) else 3
        except MemoryError:
            code = 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + WALL
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG
        time.sleep(0.001)
    if os.WIFSIGNALED(status):  # out of time: opkit then says so in one line
        return REFUSED if os.WTERMSIG(status) == signal.SIGXCPU else CRASHED
    return (SAME, SILENT, REFUSED, CRASHED)[os.WEXITSTATUS(status)]


def payload_spans(path: Path) -> list[Span]:
    """Where the chunks of the variables lie."""
    spans: list[Span] = []
    with h5py.File(path, "r") as file:
        for name in ("forcing", "vorticity"):
            file[name].id.chunk_iter(
                lambda c: spans.append((c.byte_offset, c.byte_offset + c.size))
            )
    return sorted(spans)


Damage = Callable[[bytearray, random.Random], bytearray]


def flip(offset: Callable[[random.Random], int]) -> Damage:
    """Flip one bit at an offset."""

    def damage(content: bytearray, rng: random.Random) -> bytearray:
        content[offset(rng)] ^= 1 << rng.randrange(8)
        return content

    return damage


def cut(content: bytearray, rng: random.Random) -> bytearray:
    """Cut the file somewhere."""
    return content[: rng.randrange(len(content))]


def blank(content: bytearray, rng: random.Random) -> bytearray:
    """Zero one 4 KiB page."""
    page = rng.randrange(-(-len(content) // 4096))
    here = slice(4096 * page, min(4096 * (page + 1), len(content)))
    content[here] = bytes(here.stop - here.start)
    return content


def battery(
    folder: Path, counts: dict[str, int], seed: int = 0
) -> Iterator[tuple[str, dict[str, int]]]:
    """Damage files in each way, half of them compressed, and count the outcomes."""
    rng = random.Random(seed)
    for gzip in (0, 4):
        good = folder / f"good-{gzip}.h5"
        make(good, gzip)
        reference, content = everything(good), good.read_bytes()
        spans = payload_spans(good)
        inside = [k for low, high in spans for k in range(low, high)]
        outside = sorted(set(range(len(content))) - set(inside))
        ways: dict[str, Damage] = {
            "payload bit flips": flip(lambda r, where=inside: r.choice(where)),  # type: ignore[misc]
            "metadata bit flips": flip(lambda r, where=outside: r.choice(where)),  # type: ignore[misc]
            "truncations": cut,
            "4 KiB pages blanked": blank,
        }
        for name, damage in ways.items():
            result = dict.fromkeys((SAME, REFUSED, SILENT, CRASHED, HUNG), 0)
            bad = folder / "bad.h5"
            for _ in range(counts[name] // 2):
                bad.write_bytes(damage(bytearray(content), rng))
                result[outcome(bad, reference)] += 1
            yield f"{name}{', gzip' if gzip else ''}", result


FULL = {
    "payload bit flips": 1000,
    "metadata bit flips": 1000,
    "truncations": 200,
    "4 KiB pages blanked": 100,
}
