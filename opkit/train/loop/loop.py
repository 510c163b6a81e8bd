"""The training loop, on Lightning Fabric.

Everything random depends on (seed, epoch): the order of samples, augmentation, noise.
What else a continued run needs (weights, optimiser, averaged weights, best weights,
loss scaler, torch's generator) is in the checkpoint, so that an interrupted and resumed
run equals an uninterrupted one bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from opkit.base.compiler import compiler_fault, private_cache
from opkit.base.seeds import generator
from opkit.errors import BundleError, OpkitInputError
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.loop import checkpoint
from opkit.train.loop import devices as sharding
from opkit.train.loop import optimiser as schedules
from opkit.train.loop.batches import (
    Memory,
    Slice,
    batches,
    slices,
)
from opkit.train.loop.events import (
    Epoch,
    Event,
    Progress,
    Step,
)
from opkit.train.loop.guards import LossGuard, TrainingError
from opkit.train.loop.optimiser import build_optimiser, refuse_other_state
from opkit.train.loop.task import Stream, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT_SECONDS = 30.0
"""A checkpoint is written at the first end of an epoch this long after the last one."""
CHECKPOINT_PART = 0.05
"""It is written earlier where that takes less than this part of the time since."""
ORDER = 1  # purpose of a random generator; 0 holds out samples


@dataclass
class State:
    """Where training stands after some finished epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)
    lowest_loss: float = math.inf
    seconds: float = 0.0


class Loop:
    """Trains one model on one problem.

    Args:
        fabric: devices, precision, processes.
        task: samples, and errors of the model on them.
        model: moved to the device and trained in place.
        run: where checkpoints and metrics go.
        seed: of the order of samples and of augmentation.
        progress: told about every step and epoch.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        model: nn.Module,
        run: RunDirectory,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        self.fabric, self.task, self.run, self.seed = fabric, task, run, seed
        self.training = task.training
        self.progress = progress
        self.bare = model
        if self.training.compile:
            fault = compiler_fault()
            if fault is not None:
                raise OpkitInputError(f"training.compile {fault}, or leave it out")
            private_cache()
            task.compile()
        self.model = fabric.setup_module(model)
        self.optimiser: Any = None  # of an operator that has learnt all it can
        if any(p.requires_grad for p in model.parameters()):
            optimiser = build_optimiser(model, self.training)
            self.optimiser = fabric.setup_optimizers(optimiser)
        self.state = State()
        if self.training.ema is not None:
            self.state.averaged = self._copy()
        device = fabric.device
        # small data live on the device; larger ones come batch by batch
        self.train, self.validation = task.train, task.selection
        if isinstance(self.train, Memory):
            self.train = self.train.to(device)
        if isinstance(self.validation, Memory):
            self.validation = self.validation.to(device)
        groups = self._slices()
        self.steps_per_epoch = math.ceil(len(groups) / self.training.accumulate)

    def resume(self) -> None:
        """Go on from the run's checkpoint, or from the start if there is none.

        Raises:
            BundleError: the checkpoint is damaged.
        """
        newest = checkpoint.load(self.run.checkpoints)
        if newest is None:
            self.run.cut_metrics(0)
            return
        _, saved = newest
        try:
            self._take_over(saved)
        except (
            ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError,
            ValueError,
        ) as error:  # fmt: skip
            raise BundleError(
                f"{self.run.checkpoints}: holds no state of this training "
                f"({type(error).__name__}: {error}): start a new run"
            ) from error
        self.run.cut_metrics(self.state.epoch)

    def _take_over(self, saved: dict[str, Any]) -> None:
        """Go on from a state, which may be anything that a file can hold."""
        sharding.load_weights(self.bare, saved["model"])
        parameters = [p for p in self.bare.parameters() if p.requires_grad]
        if parameters:
            self._resume_optimiser(saved, parameters)
        torch.set_rng_state(saved["rng"])
        state, kinds = State(**saved["state"]), vars(State())
        for name, value in vars(state).items():
            if type(value) is not type(kinds[name]):
                raise TypeError(f"{name} is no {type(kinds[name]).__name__}")
        own = _shapes(self.bare.state_dict())
        averages = own if self.state.averaged else {}
        if _shapes(state.averaged) != averages:
            raise ValueError("averaged weights of another model")
        if state.best_weights and _shapes(state.best_weights) != own:
            raise ValueError("best weights of another model")
        state.averaged = sharding.as_in(self.bare, state.averaged)
        self.state = state

    def _resume_optimiser(
        self, saved: dict[str, Any], parameters: list[nn.Parameter]
    ) -> None:
        # settings, and the rate of each step, are those of the recipe
        state = saved["optimiser"]["state"]
        refuse_other_state(self.training, parameters, state)
        state = sharding.optimiser_state(state, parameters)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        precision, scaler = self.fabric.strategy.precision, saved["scaler"]
        if scaler:
            kinds = {name: type(value) for name, value in scaler.items()}
            own = {name: type(v) for name, v in precision.state_dict().items()}
            if kinds != own:
                raise ValueError("state of another loss scaler")
            precision.load_state_dict(scaler)

    def fit(self) -> State:
        """Train to the last epoch, or until patience runs out.

        Raises:
            TrainingError: a loss that is not finite, or exploded; validation errors of
                which none is finite.
        """
        saved_at, took = time.perf_counter(), 0.0
        while self.state.epoch < self.training.epochs and not self._out_of_patience():
            self._epoch()
            last = self.state.epoch == self.training.epochs or self._out_of_patience()
            begin = time.perf_counter()
            due = begin - saved_at > min(CHECKPOINT_SECONDS, took / CHECKPOINT_PART)
            if self._agreed(last or due):
                self.save()
                saved_at = time.perf_counter()
                took = saved_at - begin
        if not self.state.best_weights:
            raise TrainingError(
                f"the {self.training.metric} of the validation samples was finite "
                "after no epoch: choose another training.metric, or look at those "
                "samples"
            )
        sharding.load_weights(self.bare, self.state.best_weights)
        return self.state

    def save(self) -> None:
        """Write a checkpoint of the finished epochs."""
        state = sharding.gathered(
            {
                "model": self.bare.state_dict(),
                "optimiser": self.optimiser.state_dict() if self.optimiser else {},
                "scaler": self.fabric.strategy.precision.state_dict(),
                "rng": torch.get_rng_state(),
                "state": self.state.__dict__,
            }
        )
        if self.fabric.is_global_zero:
            checkpoint.save(self.run.checkpoints, self.state.epoch, state)
        self.fabric.barrier()

    def _agreed(self, due: bool) -> bool:
        """Let all processes do what the first one decides by its clock."""
        return bool(self.fabric.broadcast(due)) if self.fabric.world_size > 1 else due

    def _epoch(self) -> None:
        begin = time.perf_counter()
        epoch = self.state.epoch + 1
        guard = LossGuard(self.state.lowest_loss)
        loss = self._train(epoch, guard) if self.optimiser else self._loss()
        guard.epoch(loss, epoch)
        trained = time.perf_counter() - begin
        value = self.validate()
        best = value < self.state.best_value
        if best:
            self.state.best_value, self.state.best_epoch = value, epoch
            weights = sharding.gathered(self._evaluated())
            self.state.best_weights = {k: v.cpu() for k, v in weights.items()}
        seconds = time.perf_counter() - begin
        self.state.epoch = epoch
        self.state.lowest_loss = guard.lowest
        self.state.seconds += seconds
        speed = len(self.train) / trained
        rate = self.optimiser.param_groups[0]["lr"] if self.optimiser else 0.0
        if self.fabric.is_global_zero:
            self.run.add_metrics(
                {
                    "epoch": epoch,
                    "train_loss": loss,
                    "validation": value,
                    "learning_rate": rate,
                    "seconds": seconds,
                    "samples_per_second": speed,
                }
            )
        self._tell(
            Epoch(epoch, self.training.epochs, loss, value, best, rate, seconds, speed)
        )

    def _train(self, epoch: int, guard: LossGuard) -> float:
        self.model.train()
        random = generator(self.seed, epoch, ORDER)
        # what is drawn anew needs no shuffling
        parts = self._slices(None if isinstance(self.train, Stream) else random)
        device = self.fabric.device
        if isinstance(self.train, Stream):
            stream = self.train.draw(epoch, parts, device)
        else:
            stream = batches(self.train, parts, device, self.training.workers)
        total = torch.zeros((), dtype=torch.float64, device=self.fabric.device)
        every = 1 if self.fabric.device.type == "cpu" else 50  # reading a loss waits
        size = self.training.accumulate
        for step in range(self.steps_per_epoch):
            group = parts[step * size : (step + 1) * size]
            samples = sum(part.total for part in group)
            loss = self._accumulate(stream, group, samples, random)
            total += loss.double() * samples
            self._update(epoch, step)
            if step % every == 0 or step + 1 == self.steps_per_epoch:
                value = loss.item()
                guard.step(value, epoch, step)
                self._tell(Step(epoch, step + 1, self.steps_per_epoch, value))
        if self.fabric.world_size > 1:
            mean = self.fabric.all_reduce(total, reduce_op="mean")
            return float(mean) / len(self.train)  # type: ignore[arg-type]
        return float(total) / len(self.train)

    @torch.no_grad()
    def _loss(self) -> float:
        """Return the mean loss of the training samples; nothing is learnt."""
        self.model.eval()
        parts = self._slices()
        random = generator(self.seed, 1, ORDER)
        assert not isinstance(self.train, Stream)
        total = 0.0
        for batch, part in batches(self.train, parts, self.fabric.device):
            values = self.task.errors(self.model, batch, random)
            total += float((values * part.weight.to(values)).sum())
        return total / len(self.train)

    def _accumulate(
        self, stream: Any, group: list[Slice], samples: int, random: torch.Generator
    ) -> Tensor:
        """Add up gradients of one step; return this process's share of the mean loss.

        Each process divides by its share of the samples of all processes, so that the
        mean over processes that DDP takes is the mean over samples.
        """
        share = samples / self.fabric.world_size
        loss = torch.zeros((), device=self.fabric.device)
        for position in range(len(group)):
            batch, part = next(stream)
            last = position + 1 == len(group)
            with self.fabric.no_backward_sync(self.model, enabled=not last):
                values = self.task.errors(self.model, batch, random)
                part_loss = (values * part.weight.to(values)).sum() / share
                self.fabric.backward(part_loss)
            loss += part_loss.detach()
        return loss

    def _update(self, epoch: int, step: int) -> None:
        done = (epoch - 1) * self.steps_per_epoch + step
        factor = schedules.factor(self.training, done, self.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * factor
        if self.training.clip_norm is not None:
            self.fabric.clip_gradients(
                self.model,
                self.optimiser,
                max_norm=self.training.clip_norm,
                error_if_nonfinite=False,
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.training.ema is not None:
            for name, parameter in self.bare.named_parameters():
                self.state.averaged[name].lerp_(
                    parameter.detach(), 1 - self.training.ema
                )

    @torch.no_grad()
    def validate(self) -> float:
        """Return the validation error of the weights that would be kept."""
        self.model.eval()
        trained = None
        if self.state.averaged:
            trained = self._copy()
            sharding.load_weights(self.bare, self.state.averaged)
        metric = self.task.metric()
        metric.to(self.fabric.device)
        parts = slices(
            len(self.validation),
            self.training.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        for batch, part in batches(self.validation, parts, self.fabric.device):
            weight = part.weight.to(self.fabric.device)
            metric.update(*self.task.predict(self.model, batch, weight))
        if trained is not None:
            self.bare.load_state_dict(trained)
        return float(metric.compute())

    def _slices(self, random: torch.Generator | None = None) -> list[Slice]:
        count = len(self.train)
        order = None if random is None else torch.randperm(count, generator=random)
        return slices(
            count,
            self.training.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
            order,
        )

    def _copy(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.bare.state_dict().items()}

    def _evaluated(self) -> dict[str, Tensor]:
        averaged = self.state.averaged
        return {k: v.clone() for k, v in averaged.items()} if averaged else self._copy()

    def _out_of_patience(self) -> bool:
        patience = self.training.patience
        waited = self.state.epoch - self.state.best_epoch
        return patience is not None and waited >= patience

    def _tell(self, event: Event) -> None:
        if self.progress is not None and self.fabric.is_global_zero:
            self.progress(event)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}
