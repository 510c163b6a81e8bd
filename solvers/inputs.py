"""What a solver asks of the fields that it is handed: one check, one wording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.interface import Fields


def checked_field(
    fields: Fields, name: str, shape: tuple[int, ...], positive: bool = False
) -> Array:
    """Return one field as contiguous float64, or say in one line what is wrong.

    Args:
        fields: variable name to array.
        name: of the field.
        shape: of one sample, such as (y, x), in numbers.
        positive: whether all values have to be above zero.

    Returns:
        (batch, *shape).

    Raises:
        OpkitInputError: no such field; another shape; not real numbers; NaN, infinity
            or masked values; not positive. The message names the field, the sample at
            fault and the remedy.
    """
    expected = f"({', '.join(['batch', *map(str, shape)])})"
    if name not in fields:
        others = ", ".join(fields) or "nothing"
        raise OpkitInputError(
            f"{name} is missing (there is {others}): give it with shape {expected}"
        )
    values = fields[name]
    if np.ma.is_masked(values):
        raise OpkitInputError(f"{name} has masked values: fill them")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise OpkitInputError(f"{name} holds {array.dtype}: give real numbers")
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise OpkitInputError(f"{name} has shape {array.shape}: give {expected}")
    field: Array = np.ascontiguousarray(array, dtype=np.float64)
    finite = np.isfinite(field)
    if not finite.all():
        sample, where = _first(~finite)
        raise OpkitInputError(
            f"{name} holds NaN or infinity in sample {sample} at {_place(where)}: "
            "remove that sample"
        )
    if positive and not (field > 0).all():
        sample, where = _first(~(field > 0))
        raise OpkitInputError(
            f"{name} must be above zero; it is {field[sample][where]:g} in sample "
            f"{sample} at {_place(where)}"
        )
    return field


def check_counts(**fields: Array) -> None:
    """Refuse fields with different numbers of samples.

    Args:
        fields: (batch, ...), by name.

    Raises:
        OpkitInputError: the message names two of them.
    """
    names = iter(fields)
    first = next(names)
    for name in names:
        if len(fields[name]) != len(fields[first]):
            raise OpkitInputError(
                f"{first} has {len(fields[first])} samples and {name} "
                f"{len(fields[name])}: give as many of each"
            )


def _first(wrong: NDArray[np.bool_]) -> tuple[int, tuple[int, ...]]:
    """Sample and place of the first value that is wrong."""
    sample, *where = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return int(sample), tuple(int(k) for k in where)


def _place(where: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, where))})"
