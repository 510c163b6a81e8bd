"""From a batch to per-sample errors: one step, rollouts, space-time.

`ResidualLoss` adds the residual of the PDE to the loss, `DirectionLoss` is a loss that
needs no solutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from opkit.case.mesh import stored_mesh
from opkit.case.record import parse_stored
from opkit.errors import OpkitInputError
from opkit.metrics import functional
from opkit.metrics import modules as metrics
from opkit.metrics.domains import Domain, Grid, Points
from opkit.operators.inputs import Inputs
from opkit.solvers.interface import (
    DifferentiableDirection,
    DifferentiableResidual,
    Solver,
)
from opkit.surrogate.bundle.normalise import PhysicalModel, packed_domain
from opkit.surrogate.bundle.record import Channels
from opkit.train.fields.setup import TrainingSetup
from opkit.train.loop.batches import Sample


class FieldTask:
    """Training on fields from files: a `Task` of the loop.

    Args:
        bare: the model itself, for its normalisers.
        setup: recipe, samples, grid and mode.
    """

    def __init__(self, bare: PhysicalModel, setup: TrainingSetup) -> None:
        self.bare, self.setup = bare, setup
        self.training = setup.recipe.training
        self.train, self.selection = setup.train, setup.selection
        self.direction_loss, self.residual_loss = solver_losses(setup)

    @property
    def grid(self) -> Domain:
        """What errors are measured with: the setup's, or that of several kinds."""
        return packed_domain(self.bare.outputs) or self.setup.grid

    def error(self, prediction: Tensor, target: Tensor, domain: Domain) -> Tensor:
        """Return the error that the recipe names, (batch,)."""
        return functional.error(self.training.loss)(prediction, target, domain)

    def compile(self) -> None:
        """Compile the operator; normalisers and losses stay as they are."""
        self.bare.operator.compile()

    def errors(
        self, model: nn.Module, batch: Sample, random: torch.Generator
    ) -> Tensor:
        """Return the loss of each sample of a training batch, (batch,).

        Args:
            model: as the loop calls it.
            batch: fields in physical units.
            random: source of augmentation, windows, and noise, on the CPU.
        """
        if self.setup.augmentation is not None:
            batch = self.setup.augmentation(batch, random)
        if not self.setup.history:
            batch = self._thinned(batch, random)
            prediction = model(Inputs.of(batch))
            if self.direction_loss is not None:
                values = self.direction_loss(batch, prediction)
            else:
                values = self.error(prediction, batch["outputs"], self.domain(batch))
            if self.residual_loss is not None:
                residual = self.residual_loss(batch, prediction)
                values = values + self.training.physics * residual
            return values
        batch = self._window(batch, random)
        training = self.training
        prediction, target = self.rollout(
            model, batch, training.pushforward, training.forcing
        )
        values = self.error(prediction.flatten(0, 1), target.flatten(0, 1), self.grid)
        return values.view(len(prediction), -1).mean(1)

    def metric(self) -> metrics.MeanError:
        """Return the recipe's metric on this grid or mesh."""
        return metrics.build(self.training.metric, self.grid)

    def domain(self, batch: Sample) -> Domain:
        """Return what errors of a batch are measured with."""
        points = None
        if "sample" in batch:
            points = Points(batch["weights"], batch["sample"])
        packed = packed_domain(self.bare.outputs, points)
        if packed is not None:
            return packed
        if points is not None:
            return points
        weighted = self.training.quadrature and "weights" in batch
        if weighted:
            return Points(batch["weights"])
        if batch["outputs"].shape[2:] != self.setup.shape.shape:  # some of the points
            return Grid((), ())
        return self.grid

    def _thinned(self, batch: Sample, random: torch.Generator) -> Sample:
        """Take `Training.points` points of each sample, the same of all on one grid.

        A sum over them is the sum over all in the mean, up to a factor.
        """
        most = self.training.points
        if most is None:
            return batch
        if "sample" in batch:
            return _thinned_ragged(batch, most, random)
        count = batch["weights"][0].numel()
        if most >= count:
            return batch
        rows = torch.randperm(count, generator=random)[:most]
        rows = rows.to(batch["weights"].device)
        few = {k: batch[k].flatten(2)[..., rows] for k in ("inputs", "outputs")}
        few["points"] = batch["points"].flatten(1, -2)[:, rows]
        few["weights"] = batch["weights"].flatten(1)[:, rows]
        return {**batch, **few}

    def predict(
        self, model: nn.Module, batch: Sample, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Domain | None]:
        """Return prediction, target, weights, and the domain where it is the batch's.

        Every frame counts as a sample.
        """
        prediction, target = self.rollout(model, batch)
        if self.setup.history:
            weight = weight.repeat_interleave(prediction.shape[1])
            prediction, target = prediction.flatten(0, 1), target.flatten(0, 1)
            return prediction, target, weight, None
        return prediction, target, weight, self.domain(batch)

    def rollout(
        self,
        model: nn.Module,
        batch: Sample,
        detach: bool = False,
        forcing: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Return prediction and target of a batch, over all frames of the target."""
        target = batch["outputs"]
        if not self.setup.history:
            return model(Inputs.of(batch)), target
        prediction = model(Inputs.of(batch), target.shape[1], detach, target, forcing)
        return prediction, target

    def _window(self, batch: Sample, random: torch.Generator) -> Sample:
        """Cut ``unroll`` frames out of the trajectories and add noise to the inputs."""
        history, steps = self.setup.history, self.training.unroll
        frames = torch.cat([batch["inputs"], batch["outputs"]], 1)
        latest = 0 if steps is None else frames.shape[1] - history - steps
        start = int(torch.randint(max(latest, 0) + 1, (), generator=random))
        end = frames.shape[1] if steps is None else start + history + steps
        inputs = frames[:, start : start + history]
        if self.training.noise:
            noise = torch.randn(inputs.shape, generator=random).to(inputs)
            std = self.bare.inputs.std.view(-1, *(1,) * (inputs.ndim - 3))
            inputs = inputs + self.training.noise * std * noise
        window = {"inputs": inputs, "outputs": frames[:, start + history : end]}
        if "series" in batch:
            window["series"] = batch["series"][..., start:end]
        return {**batch, **window}


def _thinned_ragged(batch: Sample, most: int, random: torch.Generator) -> Sample:
    """Take at most so many points of each of several samples one after another."""
    rows, start = [], 0
    for count in torch.bincount(batch["sample"]).tolist():
        rows.append(start + torch.randperm(count, generator=random)[:most])
        start += count
    index = torch.cat(rows).to(batch["sample"].device)
    few = {k: batch[k][..., index] for k in ("inputs", "outputs", "weights", "sample")}
    return {**batch, **few, "points": batch["points"][:, index]}


class _SolverLoss:
    """What losses of predictions by the case's own solver share.

    Args:
        problem: case, variables and mode.
    """

    def __init__(self, problem: TrainingSetup) -> None:
        self.problem = problem

    def solver(self) -> Solver | None:
        """Return the case's solver; None without a case, or where time is stepped."""
        problem = self.problem
        if not problem.case or problem.recipe.arrangement.needs_time:
            return None
        mesh = stored_mesh(problem.shape)
        return parse_stored(problem.case, "data file", mesh).build_solver()

    def refused(self, setting: str, lacks: str, remedy: str) -> OpkitInputError:
        """Return the error that a case without such a solver leads to."""
        name = self.problem.case.get("name", "data without a case")
        return OpkitInputError(
            f"{setting}: {name} in mode {self.problem.recipe.mode} has no {lacks} with "
            f"gradients: {remedy}"
        )

    def fields(
        self, batch: Sample, prediction: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return inputs and predicted outputs by name."""
        problem = self.problem
        inputs = _by_name(batch["inputs"], problem.inputs)
        if problem.parameters:
            inputs |= _by_name(batch["parameters"], problem.parameters)
        return inputs, _by_name(prediction, problem.outputs)


class ResidualLoss(_SolverLoss):
    """Residual of predictions, from the case's own solver, with gradients.

    Solvers that have one fulfil `opkit.solvers.interface.DifferentiableResidual`, on
    tensors (batch, *space) in physical units; 0 is exact.

    Args:
        problem: case, variables and mode.

    Raises:
        OpkitInputError: no case, a mode that is not ``map``, or a solver without it.
    """

    def __init__(self, problem: TrainingSetup) -> None:
        super().__init__(problem)
        solver = self.solver()
        if not isinstance(solver, DifferentiableResidual):
            raise self.refused("training.physics", "residual", "set it to 0")
        self.residual = solver.torch_residual

    def __call__(self, batch: Sample, prediction: Tensor) -> Tensor:
        """Return the relative residual of each sample, (batch,)."""
        return self.residual(*self.fields(batch, prediction))


class DirectionLoss(_SolverLoss):
    """What a step along a prediction leaves of the residual, without its solution.

        |b - s A u| / |b| + |s - 1| / (1 + |s|),   s = uᵀ b / uᵀ A u

    The first term is that of the deep conjugate direction method (Kaneda et al., ICML
    2023), in which the size of u is free. The second one makes its best size 1, so that
    u is a solution and not only a direction.

    Args:
        problem: case, variables and mode.

    Raises:
        OpkitInputError: no case, a mode that is not ``map``, or a solver without it.
    """

    def __init__(self, problem: TrainingSetup) -> None:
        super().__init__(problem)
        solver = self.solver()
        if not isinstance(solver, DifferentiableDirection):
            remedy = "use relative_l2"
            raise self.refused("training.loss direction", "directions", remedy)
        self.direction = solver.torch_direction

    def __call__(self, batch: Sample, prediction: Tensor) -> Tensor:
        """Return the loss of each sample, (batch,)."""
        left, step = self.direction(*self.fields(batch, prediction))
        return left + (step - 1).abs() / (1 + step.abs())


def solver_losses(
    problem: TrainingSetup,
) -> tuple[DirectionLoss | None, ResidualLoss | None]:
    """Return the losses by the solver that the recipe asks for.

    Raises:
        OpkitInputError: the case's solver does not have them.
    """
    training = problem.recipe.training
    return (
        DirectionLoss(problem) if training.loss == "direction" else None,
        ResidualLoss(problem) if training.physics else None,
    )


def _by_name(fields: Tensor, variables: Sequence[Channels]) -> dict[str, Tensor]:
    if not variables:
        return {}
    parts = torch.split(fields, [v.channels for v in variables], 1)
    return {
        v.name: part if v.channels > 1 else part[:, 0]
        for v, part in zip(variables, parts, strict=True)
    }
