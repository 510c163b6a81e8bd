"""An endless stream of random PDEs as training samples.

Chunk c of epoch e depends on (seed, e, c) alone, whatever the batch size and the number
of processes, so an interrupted run goes on with the problems it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from opkit.operators.interface import Options
from opkit.pde.batch import Problems
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.solvers.manufactured.problems import concatenate, draw_problems
from opkit.train.loop.batches import Memory, Sample, Slice

Count = Annotated[int, Field(ge=1)]
HELD_OUT = {"validation": 0, "test": -1}  # epochs that are never trained on


class StreamOptions(Options):
    """The ``stream`` block of a recipe.

    Args:
        problems: drawn in an epoch.
        validation: drawn once, to choose the best epoch, and as many for testing.
        points: interior points per problem.
        boundary_points: and on its boundary.
        unlabelled: share of problems without a known solution, evenly spread.
        unlabelled_from: fraction of the epochs that has labelled problems only.
        chunk: problems drawn together.
        relative: errors of sources and derivatives are divided by their size where it
            is large (`opkit.operators.hypino.loss`).
        distribution: law of the problems; the case's unless given.
    """

    problems: Count = 12_800
    validation: Count = 256
    points: Count = 2048
    boundary_points: Count = 2048
    unlabelled: Annotated[float, Field(ge=0, lt=1)] = 0.5
    unlabelled_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    chunk: Count = 256
    relative: bool = False
    distribution: ManufacturedDistribution | None = None


class ProblemStream:
    """Problems drawn anew in every epoch.

    Args:
        options: how many and of which kind.
        distribution: law of the problems.
        resolution: of the grids, (y, x).
        epochs: of the whole run.
        seed: of the problems.
    """

    def __init__(
        self,
        options: StreamOptions,
        distribution: ManufacturedDistribution,
        resolution: tuple[int, int],
        epochs: int,
        seed: int,
    ) -> None:
        self.options, self.distribution = options, distribution
        self.resolution, self.epochs, self.seed = resolution, epochs, seed

    def __len__(self) -> int:
        """Return the number of problems in an epoch."""
        return self.options.problems

    def draw(
        self, epoch: int, parts: list[Slice], device: torch.device
    ) -> Iterator[tuple[Sample, Slice]]:
        """Yield the problems of each slice, on the device; epochs count from 1."""
        late = epoch - 1 >= self.options.unlabelled_from * self.epochs
        share = self.options.unlabelled if late else 0.0
        held: dict[int, Problems] = {}
        for part in parts:
            numbers = sorted(set((part.indices // self.options.chunk).tolist()))
            held = {
                c: held[c] if c in held else self._chunk(epoch, c, share, device)
                for c in numbers
            }
            rows = torch.cat(
                [
                    part.indices[part.indices // self.options.chunk == c]
                    % self.options.chunk
                    + k * self.options.chunk
                    for k, c in enumerate(numbers)
                ]
            )
            problems = concatenate(list(held.values())).select(rows.to(device))
            yield as_sample(problems), part

    def labelled(self, purpose: str) -> Memory:
        """Return labelled problems that no epoch trains on: validation or test."""
        count, epoch = self.options.validation, HELD_OUT[purpose]
        generator = self._generator(epoch, 0, torch.device("cpu"))
        return Memory(as_sample(self._draw(count, generator, labelled=True)))

    def _chunk(
        self, epoch: int, number: int, share: float, device: torch.device
    ) -> Problems:
        count = self.options.chunk
        place = torch.arange(count + 1) * share
        free = place[1:].floor() > place[:-1].floor()
        generator = self._generator(epoch, number, device)
        parts = [
            self._draw(int(which.sum()), generator, labelled)
            for which, labelled in ((~free, True), (free, False))
            if which.any()
        ]
        order = torch.cat([(~free).nonzero()[:, 0], free.nonzero()[:, 0]]).argsort()
        return concatenate(parts).select(order.to(device))

    def _draw(self, count: int, generator: torch.Generator, labelled: bool) -> Problems:
        counts = (self.options.points, self.options.boundary_points)
        return draw_problems(
            count, self.distribution, self.resolution, counts, generator, labelled
        )

    def _generator(
        self, epoch: int, number: int, device: torch.device
    ) -> torch.Generator:
        sequence = np.random.SeedSequence([self.seed, epoch + 1, number])
        word = sequence.generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(word >> np.uint64(1)))


def as_sample(problems: Problems) -> Sample:
    """Return problems as named tensors (batch, ...); jets of the solution come second.

    `as_problems` is the way back.
    """
    tensors = {f.name: getattr(problems, f.name) for f in fields(problems)}
    return {**tensors, "solution": tensors["solution"].transpose(0, 1)}


def as_problems(sample: Sample) -> Problems:
    """Return the problems of a batch made by `as_sample`."""
    solution: Tensor = sample["solution"]
    return Problems(**{**sample, "solution": solution.transpose(0, 1)})
