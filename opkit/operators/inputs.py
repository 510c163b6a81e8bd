"""What a model is given for a batch of samples, from the file to the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from opkit.errors import OpkitInputError

MESH = ("cells", "facets", "facet_part")
"""Roles that say what a mesh is made of."""


class Inputs(NamedTuple):
    """Everything that a model is given for a batch, by role; a tuple of tensors.

    Args:
        fields: (batch, [history,] channel, *space) input fields.
        parameters: (batch, parameter) numbers of each sample.
        static: (batch, channel, *space) fields that stay as they are along a rollout.
        boundary: (batch, channel, face) data on the faces of a boundary curve.
        points: (batch, *space, d) places of the fields, where they differ from sample
            to sample.
        weights: (batch, *space) length, area or volume that belongs to each of them.
        sample: (N,) which sample of the batch each node belongs to, where samples of
            several lengths are laid one after another; fields are then (1, channel, N),
            points (1, N, d), weights (1, N). None elsewhere.
        series: (batch, series, time) functions of time of each sample; of a rollout a
            value for each frame that is given, and for each asked for. The operator of
            a step is given those at the frames that it sees and at the one it makes.
        cells: (batch, cell, corner) int64, where each sample has a mesh of its own.
            Operators are not given them and the next two: quantities and solvers are.
        facets: (batch, facet, corner) int64, the boundary of the mesh.
        facet_part: (batch, facet) int64, the part that each belongs to.
    """

    fields: Tensor
    parameters: Tensor | None = None
    static: Tensor | None = None
    boundary: Tensor | None = None
    points: Tensor | None = None
    weights: Tensor | None = None
    sample: Tensor | None = None
    series: Tensor | None = None
    cells: Tensor | None = None
    facets: Tensor | None = None
    facet_part: Tensor | None = None

    @classmethod
    def of(cls, sample: Mapping[str, Tensor]) -> Inputs:
        """Take the roles of a batch of samples, whose fields stand under ``inputs``."""
        return cls(sample["inputs"], *(sample.get(role) for role in cls._fields[1:]))

    @classmethod
    def joined(cls, parts: list[Inputs]) -> Inputs:
        """Join batches into one."""
        roles = parts[0].by_role
        return cls(**{role: torch.cat([p.need(role) for p in parts]) for role in roles})

    @property
    def for_operators(self) -> Inputs:
        """The same without cells and facets."""
        return self._replace(cells=None, facets=None, facet_part=None)

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.fields)

    @property
    def samples(self) -> int:
        """Number of samples of several lengths, one after another; 1 of others."""
        return 1 if self.sample is None else int(self.sample.max()) + 1

    @property
    def by_role(self) -> dict[str, Tensor]:
        """Role to tensor, of the roles that are there."""
        pairs = zip(self._fields, self, strict=True)
        return {role: tensor for role, tensor in pairs if tensor is not None}

    def need(self, role: str) -> Tensor:
        """Return the tensor of a role.

        Raises:
            OpkitInputError: it was not given.
        """
        tensors = self.by_role
        if role not in tensors:
            raise OpkitInputError(f"the operator needs {role} data: give them as well")
        return tensors[role]

    @property
    def numbers(self) -> Tensor | None:
        """Numbers of each sample, the values of its series among them (batch, n)."""
        parts = [] if self.parameters is None else [self.parameters]
        parts += [] if self.series is None else [self.series.flatten(1)]
        return torch.cat(parts, 1) if parts else None

    def at_step(self, step: int, history: int) -> Inputs:
        """Return what belongs to one step of a rollout; fields stay as they are.

        Args:
            step: its number, from 0 on.
            history: frames that it sees.

        Raises:
            OpkitInputError: the functions of time end before it.
        """
        if self.series is None:
            return self
        end = step + history + 1
        if self.series.shape[-1] < end:
            refuse_short(self.series.shape[-1], step + 1, history)
        return self._replace(series=self.series[..., step:end])

    def each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """Apply a function to every tensor."""
        return Inputs(**{role: change(part) for role, part in self.by_role.items()})

    def rows(self, rows: Tensor | slice) -> Inputs:
        """Choose samples."""
        return self.each(lambda part: part[rows])

    def apart(self) -> list[Inputs]:
        """Cut samples of several lengths, one after another, into batches of one."""
        counts = torch.bincount(self.need("sample")).tolist()
        along = {"fields": -1, "points": 1, "weights": 1}
        parts: list[dict[str, Tensor]] = [{} for _ in counts]
        for role, tensor in self.by_role.items():
            if role == "sample":
                continue
            cut = (
                torch.split(tensor, counts, along[role])
                if role in along
                else torch.split(tensor, 1)
            )
            for part, piece in zip(parts, cut, strict=True):
                part[role] = piece
        return [Inputs(**part) for part in parts]

    def split(self, size: int) -> list[Inputs]:
        """Cut into batches of at most ``size`` samples; an empty batch is one batch."""
        starts = range(0, max(self.batch, 1), size)
        return [self.rows(slice(start, start + size)) for start in starts]


def refuse_short(length: int, steps: int, history: int, names: str = "series") -> None:
    """Refuse a rollout that goes on after its functions of time have ended.

    Raises:
        OpkitInputError: naming how many values it takes.
    """
    need = history + steps
    if length >= need:
        return
    most = max(length - history, 0)
    raise OpkitInputError(
        f"{names}: {length} values in time are enough for {most} "
        f"step{'s' * (most != 1)}: give {need} for {steps}, one at each given frame "
        f"({history}) and at each predicted one, or ask for fewer steps"
    )


def as_inputs(inputs: Inputs | Tensor) -> Inputs:
    """Take a tensor for the fields alone."""
    return Inputs(inputs) if isinstance(inputs, Tensor) else inputs
