"""Which array of a foreign file becomes which variable, and what its axes are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import DIMENSIONS
from opkit.datasets.importers.source import Coordinate, LazyArray, Source
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

    def take(self, path: Path, source: Source) -> Selection:
        """Apply the map to a file.

        Raises:
            DataError: no such array, axes that are not known or not those of the file.
        """
        if self.source in source.refused:
            raise DataError(f"{path}: {self.source} {source.refused[self.source]}")
        if self.source not in source.arrays:
            known = ", ".join(source.arrays)
            raise DataError(
                f"{path}: no array {self.source!r}."
                f"{nearest(self.source, source.arrays)} It has {known[:200]}"
            )
        array = source.arrays[self.source]
        coordinates = {**source.coordinates, **array.axes}
        dims = self._dims(path, array, coordinates)
        theirs = array.dims or dims
        if self.frames is not None and "time" not in dims:
            raise DataError(f"{self.source}: frames are asked of an array without time")
        for dim, length in zip(dims, array.shape, strict=True):
            if dim == SINGLE and length != 1:
                raise DataError(
                    f"{path}: {self.source}: an axis 'channel' must have length 1"
                )
        if isinstance(self.frames, int):
            n = array.shape[dims.index("time")]
            if not -n <= self.frames < n:
                raise DataError(f"{path}: {self.source} has no frame {self.frames}")
        axes = {
            d: coordinates[t]
            for d, t in zip(dims, theirs, strict=True)
            if t in coordinates
        }
        axes = {d: c for d, c in axes.items() if d not in WITHOUT_VALUES}
        turned = {d for d, c in axes.items() if _runs_down(path, d, c)}
        return Selection(self, path, array, dims, axes, frozenset(turned))

    def _example(self, array: LazyArray) -> str:
        """Return what the user may mean, with as many axes as the array has."""
        axes = {1: "sample", 2: "sample,x", 4: "sample,time,y,x"}
        likely = axes.get(len(array.shape), "sample,y,x")
        return f"{self.name}={self.source}:{likely}"

    def _dims(
        self, path: Path, array: LazyArray, coordinates: Mapping[str, Coordinate]
    ) -> tuple[str, ...]:
        dims = self.dims or array.dims
        if dims and not self.dims:  # vectors have components of their own
            dims = tuple("component" if _of_vector(d) else d for d in dims)
        if dims is None:
            raise DataError(
                f"{path}: the axes of {self.source} {array.shape} are not known: write "
                f"{self._example(array)}"
            )
        unknown = [d for d in dims if d not in (*DIMENSIONS, "sample", SINGLE)]
        named = [d for d in dims if d != SINGLE]
        if unknown or len(set(named)) != len(named):
            of_file = "" if self.dims else f" (the file calls them {','.join(dims)})"
            raise DataError(
                f"{path}: {self.source}: dims {dims}: use each once of {DIMENSIONS}, "
                f"as in {self._example(array)}{of_file}"
            )
        if len(dims) != len(array.shape):
            raise DataError(
                f"{path}: {self.source} has shape {array.shape}, not the axes "
                f"{','.join(dims)}: write for example {self._example(array)}"
            )
        for ours, theirs in zip(dims, array.dims or dims, strict=True):
            meant = meaning(theirs, coordinates.get(theirs))
            if ours in ("sample", SINGLE) or not meant or ours in meant:
                continue
            raise DataError(
                f"{path}: {self.source} has the axes {','.join(array.dims or ())}: "
                f"{theirs} is not {ours}; name them in this order, or leave the names "
                "out"
            )
        return dims


WITHOUT_VALUES = ("sample", SINGLE, "node", "cell", "component")
LETTERS = {"X": ("x",), "Y": ("y",), "Z": ("z", "layer"), "T": ("time",)}
CUSTOMS = {
    "lon": "X", "longitude": "X", "lat": "Y", "latitude": "Y", "t": "T", "times": "T",
    "lev": "Z", "level": "Z", "depth": "Z", "height": "Z", "altitude": "Z", "plev": "Z",
}  # fmt: skip


def meaning(name: str, coordinate: Coordinate | None) -> tuple[str, ...]:
    """What a file's dimension may be called here; empty where it does not tell."""
    plain = name.rsplit("/", 1)[-1].lower()
    if plain in DIMENSIONS or plain == "sample":
        return (plain,)
    if _of_vector(plain):
        return ("component",)
    letter = coordinate.letter if coordinate is not None else ""
    return LETTERS.get(letter or CUSTOMS.get(plain, ""), ())


def _of_vector(dim: str) -> bool:
    """Whether a dimension is that of a vector's components in opkit's own files."""
    return dim.endswith("_component")


def _runs_down(path: Path, dim: str, coordinate: Coordinate) -> bool:
    """Whether an axis decreases and is turned round.

    Raises:
        DataError: it is not sorted, repeats a value, is not finite, or is a decreasing
            time, whose order is a matter of meaning.
    """
    values = coordinate.values
    if values is None or values.ndim != 1 or len(values) < 2:
        return False
    steps = np.diff(values)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: axis {dim} has values that are not finite")
    if (steps > 0).all():
        return False
    if (steps < 0).all():
        if dim in ("time", "boundary"):
            raise DataError(
                f"{path}: axis {dim} runs from {values[0]:g} down to {values[-1]:g}: "
                "write it increasing, with its data"
            )
        return True
    place = int(np.argmax(steps * np.sign(steps.sum() or 1.0) <= 0)) + 1
    raise DataError(
        f"{path}: axis {dim} is not sorted at its value {place} ({values[place]:g} "
        f"after {values[place - 1]:g}): sort the data by it, each value once"
    )


@dataclass(frozen=True)
class Selection:
    """A field map applied to one file.

    Args:
        field: the map.
        path: of the file.
        array: that is read.
        dims: names of its axes, in its order.
        axes: what the file says of them, in its order.
        turned: axes that decrease in the file, which are read backwards.
    """

    field: FieldMap
    path: Path
    array: LazyArray
    dims: tuple[str, ...]
    axes: Mapping[str, Coordinate]
    turned: frozenset[str]

    @property
    def lengths(self) -> dict[str, int]:
        """Length of each axis in the file."""
        return dict(zip(self.dims, self.array.shape, strict=True))

    @property
    def samples(self) -> int | None:
        """Length of the axis ``sample``; None if the array is common to all samples."""
        return self.lengths.get("sample")

    @property
    def target(self) -> tuple[str, ...]:
        """Dims of the variable, in the order of the format."""
        cut = isinstance(self.field.frames, int)
        return tuple(
            d for d in DIMENSIONS if d in self.dims and not (cut and d == "time")
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the variable, without samples."""
        lengths = self.lengths
        if isinstance(self.field.frames, slice):
            lengths["time"] = len(range(lengths["time"])[self.field.frames])
        return tuple(lengths[d] for d in self.target)

    def axis_values(self, dim: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of an axis of the variable, from those of the array's."""
        if dim == "time" and isinstance(self.field.frames, slice):
            values = values[self.field.frames]
        return values[::-1] if dim in self.turned else values

    def read(self, rows: slice) -> NDArray[Any]:
        """Return (row, *target dims) of these rows."""
        index = tuple(rows if d == "sample" else slice(None) for d in self.dims)
        values = np.asarray(self.array.read(index))
        names = list(self.dims)
        for dim in self.turned:
            values = np.flip(values, names.index(dim))
        if self.field.frames is not None:
            axis = names.index("time")
            values = np.moveaxis(values, axis, 0)[self.field.frames]
            del names[axis]
            if self.field.has_time:
                names.insert(0, "time")
        for axis in reversed([k for k, d in enumerate(names) if d == SINGLE]):
            values = values.take(0, axis)
            del names[axis]
        if "sample" not in names:
            values = np.broadcast_to(values, (rows.stop - rows.start, *values.shape))
            names.insert(0, "sample")
        return values.transpose([names.index(d) for d in ("sample", *self.target)])
