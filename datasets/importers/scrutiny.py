"""What is wrong with values: missing, beyond the stored type, lost in it, repeated.

Values are looked at while they are copied, block by block; what is wrong is said at the
end, with its count and its first place.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import SPLITS, Header
from opkit.datasets.rounding import LOST, NOISE, beyond, lost, wider
from opkit.errors import DataError


@dataclass
class _Seen:
    """What was seen of one variable."""

    missing: int = 0
    samples: int = 0
    first: str = ""
    beyond: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    rounding: float = 0.0
    blurred: int = 0
    blank: int = 0


def _check_whole(
    place: str, name: str, array: NDArray[Any], stored: NDArray[Any]
) -> None:
    """Refuse large whole numbers whose differences are lost, also in float64.

    Raises:
        DataError: beyond 2⁵³, and rounded by a hundredth of their spread or more.
    """
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if array.dtype.kind not in "iu" or max(-low, high) <= 2**53 or low == high:
        return
    # whole numbers of Python, whose differences are exact
    values, rounds = (
        a.astype(object).ravel() for a in (array, stored.astype(np.float64))
    )
    error = max(abs(v - int(r)) for v, r in zip(values, rounds, strict=True))
    if error > LOST * (high - low):
        raise DataError(
            f"{place}: {name} holds whole numbers from {low} to {high}, whose "
            f"differences are lost in {stored.dtype}: subtract a reference value"
        )


@dataclass
class Scrutiny:
    """Looks at every block of an import.

    Args:
        header: of the file that is made.
    """

    header: Header
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _inputs: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    _twins: list[str] = field(default_factory=list)
    _crossing: int = 0

    def look(
        self,
        places: Sequence[str],
        row: int,
        values: Mapping[str, NDArray[Any]],
        shapes: bytes = b"",
    ) -> dict[str, NDArray[Any]]:
        """Return values in the stored type.

        Args:
            places: where each row comes from, for messages: ``"a.npz: sample 3"``.
            row: number of the first row in the file that is made.
            values: by variable, (row, ...), as read.
            shapes: what else is an input, where a sample has a shape of its own.
        """
        stored = {}
        for name, array in values.items():
            spec = self.header.variable(name)
            with np.errstate(over="ignore"):
                stored[name] = np.ascontiguousarray(array.astype(spec.dtype))
            seen = self._seen.setdefault(name, _Seen())
            self._note(seen, places, name, array, stored[name])
        self._note_inputs(places, row, stored, shapes)
        return stored

    def finish(self) -> None:
        """Say what was wrong.

        Raises:
            DataError: missing values, values beyond the stored type or lost in it,
                equal inputs in two splits.
        """
        for name, seen in self._seen.items():
            if seen.missing:
                raise DataError(
                    f"{seen.first}; {seen.missing} such values of {name} in "
                    f"{seen.samples} of {self.header.samples} samples: fill them, or "
                    "leave these samples out"
                )
            dtype = self.header.variable(name).dtype
            if seen.beyond:
                raise DataError(beyond(name, seen.beyond, dtype))
            self._check_spread(name, seen, dtype)
        if self._crossing:
            raise DataError(
                f"{self._twins[0]}; {self._crossing} samples have the inputs of one in "
                "another split: leave them out of one of the splits"
            )

    def _check_spread(self, name: str, seen: _Seen, dtype: str) -> None:
        message = lost(name, seen.low, seen.high, seen.rounding, dtype)
        if message is not None:
            raise DataError(message)
        if seen.blurred:
            warnings.warn(
                f"{name}: {seen.blurred} of {self.header.samples} samples vary by less "
                f"than 100 times the rounding of {dtype}: {wider(dtype)}, if that "
                "variation matters",
                stacklevel=4,
            )
        if seen.blank and seen.high > seen.low:
            warnings.warn(
                f"{name}: {seen.blank} of {self.header.samples} samples are zero "
                "throughout, as of a writer that did not finish: look at them",
                stacklevel=4,
            )

    def _note(
        self,
        seen: _Seen,
        places: Sequence[str],
        name: str,
        array: NDArray[Any],
        stored: NDArray[Any],
    ) -> None:
        finite = np.isfinite(array)
        if not finite.all():
            wrong = np.argwhere(~finite)
            if not seen.first:
                where = self._place(name, wrong[0][1:])
                place = places[int(wrong[0][0])]
                seen.first = f"{place}: {name} is missing or not finite{where}"
            seen.missing += len(wrong)
            seen.samples += len(np.unique(wrong[:, 0]))
            return
        if not np.isfinite(stored).all():
            seen.beyond = max(seen.beyond, float(np.abs(array).max()))
            return
        if not array.size:
            return
        _check_whole(places[0], name, array, stored)
        flat = array.reshape(len(array), -1)
        exact = flat.astype(np.float64)
        error = np.abs(exact - stored.reshape(len(array), -1)).max(axis=1)
        low, high = exact.min(axis=1), exact.max(axis=1)
        seen.low, seen.high = min(seen.low, low.min()), max(seen.high, high.max())
        seen.rounding = max(seen.rounding, error.max())
        largest = np.maximum(np.abs(low), np.abs(high))
        faint = (error > LOST * (high - low)) & (high - low > NOISE * largest)
        seen.blurred += int(faint.sum())
        output = self.header.variable(name).role == "output"
        if output and flat.shape[1] > 1:
            seen.blank += int((largest == 0).sum())

    def _place(self, name: str, index: NDArray[np.int64]) -> str:
        dims = self.header.variable(name).dims
        parts = []
        for dim, k in zip(dims, index, strict=True):
            axis = self.header.coordinates.get(dim)
            parts.append(f"{dim} {k if axis is None else f'{axis.values[k]:g}'}")
        return f" at {', '.join(parts)}" if parts else ""

    def _note_inputs(
        self,
        places: Sequence[str],
        row: int,
        stored: Mapping[str, NDArray[Any]],
        shapes: bytes,
    ) -> None:
        codes = self.header.split_codes
        names = sorted(v.name for v in self.header.variables if v.role != "output")
        for k in range(len(next(iter(stored.values())))):
            total = hashlib.sha256(shapes)
            for name in names:
                total.update(stored[name][k].data)
            split = int(codes[row + k])
            here = f"{places[k]} ({SPLITS[split]})"
            other = self._inputs.setdefault(total.digest(), (split, here))
            if other[0] != split:
                self._crossing += 1
                self._twins.append(f"{here} has the inputs of {other[1]}")
