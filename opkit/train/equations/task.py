"""Training of a hypernetwork on a stream of PDEs: a `Task` of the loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from opkit.case.recipe import Training
from opkit.metrics import modules as metrics
from opkit.metrics.domains import Grid
from opkit.operators.hypino.loss import target_loss
from opkit.operators.hypino.target import ActivationName, Target
from opkit.train.equations.stream import ProblemStream, as_problems
from opkit.train.loop.batches import Memory, Sample

Loss = Callable[..., dict[str, Tensor]]
POINTS = Grid((2.0,), (False,))  # errors are means over scattered points


class EquationTask:
    """Residual, boundary conditions and, where known, solutions of random PDEs.

    Args:
        training: settings of the loop.
        stream: the problems.
        activation: of the written networks.
    """

    def __init__(
        self,
        training: Training,
        stream: ProblemStream,
        activation: ActivationName = "tanh",
    ) -> None:
        self.activation = activation
        self.training, self.train = training, stream
        self.selection: Memory = stream.labelled("validation")
        relative = stream.options.relative
        self.loss: Loss = partial(target_loss, relative=relative)

    def compile(self) -> None:
        """Fuse the loss: forward and backward through jets of the written networks."""
        self.loss = torch.compile(self.loss)

    def errors(
        self, model: nn.Module, batch: Sample, random: torch.Generator
    ) -> Tensor:
        """Return the batch's loss once for every problem, (batch,).

        Label terms are means over the labelled problems of the batch, so the loss
        belongs to the batch and not to one problem.
        """
        problems = as_problems(batch)
        tensors = model(problems.coefficients, problems.grids)
        target = Target.from_tensors(tensors, self.activation)
        loss: Tensor = self.loss(target, problems)["loss"]
        return loss.expand(len(problems))

    def metric(self) -> metrics.MeanError:
        """Return the recipe's metric, over points of the domain."""
        return metrics.build(self.training.metric, POINTS)

    def predict(
        self, model: nn.Module, batch: Sample, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return u and the known solution at the points, 0 outside the domain."""
        problems = as_problems(batch)
        tensors = model(problems.coefficients, problems.grids)
        target = Target.from_tensors(tensors, self.activation)
        inside = problems.weights[:, None]
        values = target.value(problems.points)[:, None]
        return values * inside, problems.solution[0][:, None] * inside, weight, None
