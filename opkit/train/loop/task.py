"""What the training loop asks of a task: samples, and errors of a model on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from opkit.case.recipe import Training
from opkit.metrics.domains import Domain
from opkit.metrics.modules import MeanError
from opkit.train.loop.batches import Sample, Samples, Slice


@runtime_checkable
class Stream(Protocol):
    """Samples that are drawn anew in every epoch, from (seed, epoch) alone."""

    def __len__(self) -> int: ...

    def draw(
        self, epoch: int, parts: list[Slice], device: torch.device
    ) -> Iterator[tuple[Sample, Slice]]:
        """Yield the batch of each slice on the device."""


class Task(Protocol):
    """Samples and errors; knows nothing of devices, optimisers and checkpoints.

    The model is an argument because the loop calls it wrapped, for precision and
    processes.
    """

    @property
    def training(self) -> Training:
        """Settings of the loop."""

    @property
    def train(self) -> Samples | Stream:
        """Training samples."""

    @property
    def selection(self) -> Samples:
        """Samples that choose the best epoch."""

    def compile(self) -> None:
        """Fuse what is computed in a step with torch.compile."""

    def errors(
        self, model: nn.Module, batch: Sample, random: torch.Generator
    ) -> Tensor:
        """Return the loss of each sample of a training batch, (batch,).

        Args:
            model: as the loop calls it.
            batch: what ``train`` gave.
            random: of this epoch, on the CPU.
        """

    def metric(self) -> MeanError:
        """Return the metric that chooses the best epoch, empty."""

    def predict(
        self, model: nn.Module, batch: Sample, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Domain | None]:
        """Return what the metric is updated with: prediction, target, weights, domain.

        The domain is None where it is the same for all batches.
        """
