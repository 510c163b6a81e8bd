"""Mesh morphing with Gaussian processes: fields on shapes, each with a mesh of its own.

    x̂_i = P_i x_i,  û_i = P_i u_i,   û = POD-GP(x̂, θ),   u = Q û

P_i: interpolation from the mesh of sample i, morphed onto the unit disk (`morphing`),
to a common mesh there, that of the sample with the median number of nodes; x̂:
coordinates as a field, which says the shape; Q: interpolation back to the nodes of the
sample that is asked for. What is learnt on the common mesh is the operator ``pod-gp``,
with standard deviations, to which what interpolation there and back loses is added.
Source: Casenave, Staber, Roynard, NeurIPS 2023, arXiv:2305.12871.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Array
from opkit.elements.transfer import interpolation
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import KnowsDeviation, build_operator
from opkit.operators.mmgp.morphing import on_disk
from opkit.operators.shapes import MeshShape

FEWEST = 8
"""Samples without which there is nothing to learn from."""


@dataclass(frozen=True)
class Shape:
    """One sample: its mesh, and the numbers that belong to it.

    Args:
        points: (node, 2).
        cells: (cell, 3).
        numbers: (number,), none where the shape says everything.
    """

    points: Array
    cells: NDArray[np.int64]
    numbers: Array


class MMGP:
    """Fields on shapes without holes, in the plane, learnt from some tens of samples.

    Args:
        shapes: of the training samples.
        fields: (channel, node) of each.
        options: of ``pod-gp``.

    Raises:
        OpkitInputError: too few samples, arrays that do not fit one another, a mesh
            with holes, or one that folds.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        fields: Sequence[Array],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        _check(shapes, fields)
        disks = [on_disk(s.points, s.cells, k) for k, s in enumerate(shapes)]
        middle = int(np.argsort([len(s.points) for s in shapes])[len(shapes) // 2])
        common = shapes[middle]
        self.places, self.cells = disks[middle], common.cells
        self.numbers = len(common.numbers)
        coordinates, there, lost = [], [], np.zeros((len(fields[0]), len(self.places)))
        for shape, disk, field in zip(shapes, disks, fields, strict=True):
            to, back = self._ways(shape, disk)
            coordinates.append((to @ shape.points).T)
            there.append((to @ field.T).T)
            lost += (to @ (back @ there[-1].T - field.T) ** 2).T / len(shapes)
        self.lost = torch.from_numpy(lost)
        inputs = torch.from_numpy(np.stack(coordinates))
        outputs = torch.from_numpy(np.stack(there))
        nodes, channels = len(common.points), len(fields[0])
        data = MeshShape(
            2,
            channels,
            "node",
            common.points,
            common.cells,
            np.zeros(nodes, bool),
            np.zeros((channels, nodes)),
            parameters=self.numbers,
        )
        self.operator = build_operator("pod-gp", data, options or {}).double()
        self.centre = outputs.mean((0, 2))[:, None]
        size = outputs.std((0, 2))[:, None]
        self.size = torch.where(size > 0, size, 1.0)
        samples = {"inputs": inputs, "outputs": (outputs - self.centre) / self.size}
        if self.numbers:
            numbers = np.stack([shape.numbers for shape in shapes])
            samples["parameters"] = torch.from_numpy(numbers)
        self.operator.prepare(samples)

    def __call__(self, shape: Shape) -> tuple[Array, Array]:
        """Return the fields (channel, node) on a shape, and their standard deviations.

        Raises:
            OpkitInputError: a mesh with holes, one that folds, or other numbers.
        """
        disk = on_disk(shape.points, shape.cells)
        to, back = self._ways(shape, disk)
        numbers = torch.from_numpy(shape.numbers)[None]
        if numbers.shape[1] != self.numbers:
            raise OpkitInputError(
                f"the shape has {numbers.shape[1]} numbers, the training samples had "
                f"{self.numbers}: give as many"
            )
        asked = Inputs(
            torch.from_numpy((to @ shape.points).T)[None],
            parameters=numbers if self.numbers else None,
        )
        assert isinstance(self.operator, KnowsDeviation)
        with torch.no_grad():
            answer = self.operator(asked)[0] * self.size + self.centre
            own = self.operator.deviation(asked)[0] * self.size
            deviation = (own.square() + self.lost).sqrt()
        return _applied(back, answer), _applied(back, deviation)

    def _ways(self, shape: Shape, disk: Array) -> tuple[Any, Any]:
        """Return the interpolation of a sample to the common mesh, and back."""
        return (
            interpolation(disk, shape.cells, self.places),
            interpolation(self.places, self.cells, disk),
        )


def _applied(matrix: Any, fields: Tensor) -> Array:
    result: Array = (matrix @ fields.numpy().T).T
    return result


def _check(shapes: Sequence[Shape], fields: Sequence[Array]) -> None:
    """Refuse samples that do not belong together.

    Raises:
        OpkitInputError: names the first.
    """
    if len(shapes) < FEWEST or len(fields) != len(shapes):
        raise OpkitInputError(
            f"{len(shapes)} shapes and {len(fields)} fields: give one field for each "
            f"of at least {FEWEST} shapes"
        )
    for k, (shape, field) in enumerate(zip(shapes, fields, strict=True)):
        if field.shape != (len(fields[0]), len(shape.points)):
            raise OpkitInputError(
                f"sample {k}: fields have shape {field.shape}, the mesh "
                f"{len(shape.points)} nodes: give (channel, node), as many channels in "
                "each sample"
            )
        if shape.numbers.shape != shapes[0].numbers.shape:
            raise OpkitInputError(
                f"sample {k} has {len(shape.numbers)} numbers, the first "
                f"{len(shapes[0].numbers)}: give as many"
            )
