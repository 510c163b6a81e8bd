"""Which array of a foreign file becomes which variable, and what its axes are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import DIMENSIONS
from opkit.datasets.importers.source import LazyArray, Source
from opkit.errors import DataError, nearest

SINGLE = "channel"  # an axis of length 1, dropped
_TEXT = re.compile(
    r"(?P<name>[a-z][a-z0-9_]*)=(?P<source>[^:@]+)"
    r"(?::(?P<dims>[a-z,]+))?(?:@(?P<frames>-?\d+|-?\d*:-?\d*))?\Z"
)


@dataclass(frozen=True)
class FieldMap:
    """One variable taken from one array.

    Args:
        name: of the variable.
        source: name of the array in the file.
        role: ``"input"`` or ``"output"``.
        dims: names of the array's axes in its order, ``sample`` among them, an axis of
            length 1 to be dropped as ``channel``. None where the file tells them.
        frames: which of its times: one number (the variable then has no time), or a
            slice; None for all.
        units: of the variable; empty for what the file says, else ``"1"``.
        long_name: for axes of figures.
    """

    name: str
    source: str
    role: Literal["input", "output"]
    dims: tuple[str, ...] | None = None
    frames: int | slice | None = None
    units: str = ""
    long_name: str = ""

    @staticmethod
    def parse(text: str, role: Literal["input", "output"]) -> FieldMap:
        """Read ``"vorticity=u:sample,x,y,time@1:"``: name, array, axes, frames.

        Axes and frames may be left out.

        Raises:
            DataError: not of this form.
        """
        match = _TEXT.match(text)
        if match is None:
            raise DataError(
                f"{text!r}: write NAME=ARRAY:sample,y,x, with @0 or @1: for frames"
            )
        frames: int | slice | None = None
        if (cut := match["frames"]) is not None:
            ends = [int(end) if end else None for end in cut.split(":")]
            frames = slice(*ends) if ":" in cut else int(cut)
        dims = tuple(match["dims"].split(",")) if match["dims"] else None
        return FieldMap(match["name"], match["source"], role, dims, frames)

    @property
    def has_time(self) -> bool:
        """Whether frames are cut and time remains a dimension."""
        return isinstance(self.frames, slice)

    def samples(self, path: Path, source: Source) -> int | None:
        """Length of the axis ``sample``; None if the array is common to all samples."""
        array, dims = self._array(path, source)
        return array.shape[dims.index("sample")] if "sample" in dims else None

    def target_dims(self, path: Path, source: Source) -> tuple[str, ...]:
        """Dims of the variable, in the order of the format."""
        _, dims = self._array(path, source)
        return tuple(d for d in DIMENSIONS if d in dims and not self._dropped(d))

    def shape(self, path: Path, source: Source) -> tuple[int, ...]:
        """Shape of the variable, without samples."""
        array, dims = self._array(path, source)
        lengths = dict(zip(dims, array.shape, strict=True))
        if isinstance(self.frames, slice):
            lengths["time"] = len(range(lengths["time"])[self.frames])
        elif self.frames is not None:
            n = lengths["time"]
            if not -n <= self.frames < n:
                raise DataError(f"{path}: {self.source} has no frame {self.frames}")
        return tuple(lengths[d] for d in self.target_dims(path, source))

    def read(
        self, source: Source, rows: slice, target: tuple[str, ...]
    ) -> NDArray[Any]:
        """Return (row, *target dims) of these rows."""
        array, dims = self._array(Path(), source)
        index = tuple(rows if d == "sample" else slice(None) for d in dims)
        values = array.read(index)
        names = list(dims)
        if self.frames is not None:
            axis = names.index("time")
            values = np.moveaxis(values, axis, 0)[self.frames]
            del names[axis]
            if self.has_time:
                names.insert(0, "time")
        for axis in reversed([k for k, d in enumerate(names) if d == SINGLE]):
            values = values.take(0, axis)
            del names[axis]
        if "sample" not in names:
            values = np.broadcast_to(values, (rows.stop - rows.start, *values.shape))
            names.insert(0, "sample")
        return values.transpose([names.index(d) for d in ("sample", *target)])

    def _dropped(self, dim: str) -> bool:
        return dim == "time" and isinstance(self.frames, int)

    def _array(self, path: Path, source: Source) -> tuple[LazyArray, tuple[str, ...]]:
        if self.source not in source.arrays:
            known = ", ".join(source.arrays)
            raise DataError(
                f"{path}: no array {self.source!r}."
                f"{nearest(self.source, source.arrays)} It has {known[:200]}"
            )
        array = source.arrays[self.source]
        dims = self.dims or array.dims
        if dims is None:
            raise DataError(
                f"{path}: the axes of {self.source} {array.shape} are not known: write "
                f"{self.name}={self.source}:sample,y,x"
            )
        unknown = [d for d in dims if d not in (*DIMENSIONS, "sample", SINGLE)]
        if unknown or len(set(dims) - {SINGLE}) != len(
            [d for d in dims if d != SINGLE]
        ):
            raise DataError(
                f"{self.source}: dims {dims}: use each once of {DIMENSIONS}"
            )
        if len(dims) != len(array.shape):
            raise DataError(
                f"{path}: {self.source} has shape {array.shape}, not the axes "
                f"{','.join(dims)}"
            )
        if self.frames is not None and "time" not in dims:
            raise DataError(f"{self.source}: frames are asked of an array without time")
        single = [n for d, n in zip(dims, array.shape, strict=True) if d == SINGLE]
        if any(n != 1 for n in single):
            raise DataError(
                f"{path}: {self.source}: an axis 'channel' must have length 1"
            )
        return array, dims
