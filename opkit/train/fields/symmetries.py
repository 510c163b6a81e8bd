"""Symmetries of a PDE used to enlarge the training data.

They act on the last axes of scalar fields, (…, y, x). Whether the problem has them is
for the recipe to say: a reflection holds for scalars such as permeability and pressure,
not for vorticity, which changes its sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opkit.case.recipe import Symmetry
from opkit.errors import OpkitInputError


def check_symmetries(
    names: Sequence[Symmetry], shape: Sequence[int], periodic: Sequence[bool]
) -> None:
    """Refuse symmetries that the grid does not have.

    Raises:
        OpkitInputError: transposing a grid that is not square, or shifting one that is
            not periodic.
    """
    if "transpose" in names and (len(shape) < 2 or shape[-1] != shape[-2]):
        raise OpkitInputError(
            f"symmetry transpose needs as many points in y as in x, not {tuple(shape)}"
        )
    if "flip_y" in names and len(shape) < 2:
        raise OpkitInputError("symmetry flip_y needs an axis y: leave it out")
    if "shift" in names and not all(periodic):
        raise OpkitInputError(
            "symmetry shift needs periodic axes: leave it out of training.symmetries"
        )


def apply(
    names: Sequence[Symmetry],
    fields: Sequence[Tensor],
    axes: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Apply one random element of the group to all fields of a batch alike.

    Args:
        names: generators of the group; each is used with probability 1/2, a shift is
            uniform over the grid.
        fields: tensors that share their last ``axes`` axes.
        axes: number of space axes.
        generator: source of randomness, on the CPU.
    """
    result = list(fields)
    for name in names:
        if name == "shift":
            shape = result[0].shape[-axes:]
            offsets = [int(torch.randint(n, (), generator=generator)) for n in shape]
            dims = list(range(-axes, 0))
            result = [field.roll(offsets, dims) for field in result]
            continue
        if torch.rand((), generator=generator) < 0.5:
            continue
        if name == "transpose":
            result = [field.transpose(-1, -2) for field in result]
        else:
            result = [field.flip(-1 if name == "flip_x" else -2) for field in result]
    return [field.contiguous() for field in result]
