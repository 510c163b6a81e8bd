"""Symmetries of an evolution equation, as actions on its fields on a periodic grid.

    ũ(x, t) = s u(Q x + o, t)                      Q: flips and exchanges of axes
    ũ(x, t) = u(x + r d, t)                        r: any number of grid points
    ũ(x, t) = u(x − a ε t, t) + ε                  Galilei, on one axis

If u solves the equation, ũ does, with the initial field transformed alike. A solver
says which of them its equation has (`opkit.solvers.interface.KnowsSymmetries`).

Source of the published flow's: Mialon et al., NeurIPS 2023, arXiv:2307.05432, and
direct substitution; `tests/solvers/test_symmetries.py` tries each on its solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opkit.base.arrays import Indices
from opkit.errors import OpkitInputError


@dataclass(frozen=True)
class Symmetry:
    """One symmetry, or one family of them.

    Args:
        sign: s.
        flips: axes that are turned round.
        transpose: whether x and y change places.
        offset: o, axis to part of its side.
        shifts: directions d, axis to grid points; a random multiple of each is moved.
        velocity: a, of the Galilei transformation; zero where it is none.
    """

    sign: int = 1
    flips: tuple[str, ...] = ()
    transpose: bool = False
    offset: Mapping[str, float] = field(default_factory=dict)
    shifts: tuple[Mapping[str, int], ...] = ()
    velocity: float = 0.0

    def indices(
        self, shape: tuple[int, ...], moves: tuple[int, ...] = ()
    ) -> tuple[Indices, ...]:
        """Return the index of every axis that a field is read at, each of ``shape``.

        ``fields[(..., *indices)]`` is the transformed field but for the sign, of arrays
        of numpy and of torch.

        Args:
            shape: of the grid, (x,) or (y, x).
            moves: multiples of the directions of ``shifts``.

        Raises:
            OpkitInputError: a grid on which the symmetry does not exist.
        """
        axes = ("y", "x")[-len(shape) :]
        if self.transpose and len(set(shape)) > 1:
            raise OpkitInputError(
                f"symmetry transpose needs as many points in y as in x, not {shape}"
            )
        own = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
        sources = own[::-1] if self.transpose else own
        read = []
        for axis, source, n in zip(axes, sources, shape, strict=True):
            points = self.offset.get(axis, 0.0) * n
            if abs(points - round(points)) > 1e-9:
                raise OpkitInputError(
                    f"a symmetry moves {axis} by {self.offset[axis]:g} of its side, "
                    f"which is no grid point of {n}: take another resolution"
                )
            sense = -1 if axis in self.flips else 1
            place = sense * source + round(points)
            for many, direction in zip(moves, self.shifts, strict=False):
                place = place + many * direction.get(axis, 0)
            read.append(place % n)
        return tuple(read)


def act(symmetry: Symmetry, fields: Any, axes: int, moves: tuple[int, ...] = ()) -> Any:
    """Transform fields of numpy or torch, (..., *space), by all but a velocity.

    Args:
        symmetry: of the equation.
        fields: on a periodic grid.
        axes: number of space axes.
        moves: see `Symmetry.indices`.
    """
    indices = symmetry.indices(tuple(fields.shape[-axes:]), moves)
    return symmetry.sign * fields[(..., *indices)]
