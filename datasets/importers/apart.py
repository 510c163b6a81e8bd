"""Read other people's files in a process apart, under limits of memory and time.

Libraries that read foreign formats can crash, hang or take all memory over one changed
bit. They run in one child process, which is asked to open files and to read parts of
arrays; this process receives names, numbers and shapes, and parses none of the file.

A request is a line of JSON. An answer is the length of a JSON text (8 bytes, little
endian), the text, and the bytes of the arrays that it lists.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.children import environment, python
from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.header import Mesh
from opkit.datasets.importers.source import Coordinate, LazyArray, Source
from opkit.errors import DataError, MissingExtraError

CHILD = "opkit.datasets.importers.apart_child"
SECONDS = 30.0
"""Processor time to open a file and to read all of it, beyond size / `RATE`."""
STALL, SHARE = 300.0, 10.0
"""A request may last this long, or this many times its processor time: a machine with
other work is slow, and a disk or a pipe that never answers is given up."""
STARTING = 600.0
"""Time to load the libraries of a format, on a machine with other work."""
RATE = 4 << 20  # bytes per second of processor time
LONGEST_ANSWER = 256 << 20  # bytes of the JSON text
TYPED = {"DataError": DataError, "MissingExtraError": MissingExtraError}


def open_apart(path: Path, format: str) -> Source:
    """Open a file in the child process; its arrays are read there, when asked for.

    Args:
        path: a regular file, or a folder of .npy files.
        format: one of `apart_child.FORMATS`.

    Raises:
        DataError: it cannot be read, within the limits or at all.
        MissingExtraError: the format needs a package that is not installed.
    """
    child = _shared()
    handle = _Handle(child, path, format)
    source = handle.opened()
    weakref.finalize(source, handle.close)
    return source


class _Handle:
    """One file that the child has open.

    Args:
        child: that reads it.
        path: of the file.
        format: of the file.
    """

    def __init__(self, child: _Child, path: Path, format: str) -> None:
        self._child, self._path, self._format = child, path, format
        self._number = child.next_number()
        request = {"do": "load", "format": format}
        _check(child.ask(request, SECONDS, STARTING, path)[0])
        self._left = SECONDS + _size(path) / RATE
        self._closed = False

    def opened(self) -> Source:
        """Ask the child to open the file."""
        answer, arrays = self._ask("open", path=str(self._path), format=self._format)
        coordinates = [
            Coordinate(None if k is None else arrays[k], *labels)
            for k, *labels in answer["coordinates"]
        ]

        def axes(places: Mapping[str, int]) -> dict[str, Coordinate]:
            return {name: coordinates[k] for name, k in places.items()}

        place = answer["mesh"]
        mesh = None
        if place is not None:
            groups = None
            if answer["parts"] is not None:
                names = tuple(str(name) for name in answer["parts"])
                groups = MeshGroups(
                    subdomains=arrays[place + 2],
                    facets=arrays[place + 3],
                    parts=arrays[place + 4],
                    names=names,
                )
            mesh = Mesh(arrays[place], arrays[place + 1], groups)
        return Source(
            {
                name: self._array(
                    name, tuple(shape), dtype, dims, units, axes(answer["axes"][scope])
                )
                for name, shape, dtype, dims, units, scope in answer["arrays"]
            },
            axes(answer["own"]),
            answer["provenance"],
            answer["refused"],
            mesh,
            self.close,
        )

    def close(self) -> None:
        """Have the child close the file."""
        if not self._closed:
            self._closed = True
            self._child.forget(self._number)

    def _array(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        dims: Sequence[str] | None,
        units: str,
        axes: Mapping[str, Coordinate],
    ) -> LazyArray:
        kind = np.dtype(dtype)

        def read(index: tuple[slice, ...]) -> NDArray[Any]:
            lengths = zip(index, shape, strict=True)
            selected = tuple(len(range(*s.indices(n))) for s, n in lengths)
            size = math.prod(selected) * max(kind.itemsize, 8)
            parts = [[_whole(e) for e in (s.start, s.stop, s.step)] for s in index]
            self._left += size / RATE
            _, arrays = self._ask("read", name=name, index=parts)
            if len(arrays) != 1 or arrays[0].shape != selected:
                raise DataError(f"{self._path}: {name} is not what it declares")
            return arrays[0]

        names = None if dims is None else tuple(dims)
        return LazyArray(shape, kind, read, names, units, axes)

    def _ask(
        self, verb: str, **words: Any
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        if self._closed:
            raise DataError(f"{self._path}: was closed")
        request = {"do": verb, "file": self._number, **words}
        seconds = max(self._left, 1.0)
        wall = max(STALL, SHARE * seconds)
        answer, arrays = self._child.ask(request, seconds, wall, self._path)
        self._left -= answer.pop("used")
        _check(answer)
        return answer, arrays


class _Child:
    """The process that reads; it ends when this one does."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.RLock()
        self._files = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as this)
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self._process = subprocess.Popen(
            python(CHILD),
            env=environment(dict.fromkeys(threads, "1")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.owner == os.getpid() and self._process.poll() is None

    def next_number(self) -> int:
        """Return a number that stands for one more file."""
        with self._lock:
            self._files += 1
            return self._files

    def ask(
        self, request: Mapping[str, Any], seconds: float, wall: float, path: Path
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Return the answer to one request.

        Args:
            request: what is asked.
            seconds: of processor time that it may take.
            wall: seconds until the child is ended.
            path: of the file, for messages.

        Raises:
            DataError: it takes longer, or the child ends over it.
        """
        with self._lock:
            if not self.alive:
                raise DataError(f"{path}: the process that read it has ended")
            until = time.monotonic() + wall
            try:
                return self._exchange(dict(request, seconds=seconds), until)
            except TimeoutError:
                self.end()
                raise DataError(
                    f"{path}: reading it takes over {wall:.0f} s: the disk does not "
                    "answer, or the file is damaged or hostile"
                ) from None
            except (EOFError, BrokenPipeError):
                raise DataError(f"{path}: {self._how_it_ended(seconds)}") from None
            except BaseException:  # interrupted: an answer may still be on its way
                self.end()
                raise

    def forget(self, number: int) -> None:
        """Have it close a file."""
        with self._lock:
            if self.alive:
                try:
                    until = time.monotonic() + STALL
                    self._exchange({"do": "close", "file": number}, until)
                except (TimeoutError, EOFError, BrokenPipeError):
                    self.end()

    def end(self) -> None:
        """End it."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()

    def _exchange(
        self, request: Mapping[str, Any], until: float
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        self._send(request)
        length = int.from_bytes(self._receive(bytearray(8), until), "little")
        if length > LONGEST_ANSWER:
            raise EOFError
        answer = json.loads(self._receive(bytearray(length), until))
        arrays = []
        for dtype, shape in answer.pop("sent"):
            kind = np.dtype(dtype)
            if kind.kind not in "iufb":
                raise EOFError
            array = _room(tuple(shape), kind)
            if array.size:
                self._receive(memoryview(array.reshape(-1)).cast("B"), until)
            arrays.append(array)
        return answer, arrays

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def _receive(self, into: bytearray | memoryview, until: float) -> bytes | bytearray:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        view = memoryview(into)
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        while len(view):
            seconds = until - time.monotonic()
            if seconds <= 0 or not ready.poll(math.ceil(1000 * seconds)):
                raise TimeoutError
            count = os.readv(descriptor, [view])
            if not count:
                raise EOFError
            view = view[count:]
        return into if isinstance(into, bytearray) else b""

    def _how_it_ended(self, seconds: float) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self.end()
            code = 1
        if code == -signal.SIGXCPU:
            return (
                f"reading it takes over {seconds:.0f} s of processor time: damaged or "
                "hostile"
            )
        how = f"{'signal' if code < 0 else 'code'} {abs(code)}"
        self._errors.seek(0)
        lines = self._errors.read(1 << 20).decode(errors="replace").split("\n")
        last = next((s.strip()[:160] for s in reversed(lines) if s.strip()), "")
        reason = f" ({last})" if code > 0 and last else ""
        return (
            f"reading it ended with {how} under the limits of memory and time{reason}: "
            "damaged or hostile"
        )


_children: list[_Child] = []
_starting = threading.Lock()


def _shared() -> _Child:
    """Return the child of this process; start it where there is none."""
    with _starting:
        if not _children or not _children[-1].alive:
            _children[:] = [_Child()]
            atexit.register(_children[-1].end)
        return _children[-1]


def _check(answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        raise TYPED[answer["kind"]](answer["error"])


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*.npy"))
    return path.stat().st_size


def _whole(number: Any) -> int | None:
    return None if number is None else int(number)


def _room(shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    try:
        return np.empty(shape, kind)
    except MemoryError as error:
        raise DataError(f"an array of {shape} is more than memory holds") from error
