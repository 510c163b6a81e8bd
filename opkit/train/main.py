"""Train an operator on a data file: from the command to the bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from opkit import bundle
from opkit.bundle import Score
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError
from opkit.normalise import PhysicalModel
from opkit.recipe import Recipe
from opkit.rundir import RunDirectory, environment
from opkit.train import guards, loggers, onward
from opkit.train.devices import make_fabric
from opkit.train.events import Epoch, Event, Finished, Progress, Started, Warned
from opkit.train.finish import write_bundle
from opkit.train.loop import Loop, State
from opkit.train.memory import step_bytes
from opkit.train.problem import (
    Problem,
    build_model,
    fit_normalisers,
    prepare,
    prepare_operator,
    resolve_recipe,
)
from opkit.train.residual_loss import ResidualLoss

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind.

    Args:
        run: run directory.
        bundle: the bundle inside it.
        best_epoch: epoch whose weights were kept, from 1.
        best_validation: its validation error.
        scores: errors on the test split (the validation split if there is none).
        flags: what is wrong with this run, one line each; empty is good.
    """

    run: Path
    bundle: Path
    best_epoch: int
    best_validation: float
    scores: tuple[Score, ...]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What training would need, without doing it."""

    recipe: Recipe
    parameters: int
    train_samples: int
    validation_samples: int
    steps_per_epoch: int
    steps: int
    data_bytes: int
    step_bytes: int


def train(
    data: Path,
    run: Path,
    *,
    operator: str,
    overrides: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    progress: Progress | None = None,
    start: Path | None = None,
    more: Sequence[Path] = (),
) -> TrainingResult:
    """Train an operator and write a run directory with its bundle.

    Args:
        data: data file with a training split.
        run: run directory to make, or to go on with.
        operator: name of a recipe of the data's case, or of an operator.
        overrides: settings of the recipe, such as ``"training.epochs=5"``.
        seed: of weights, order, and augmentation.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``.
        resume: go on from the last checkpoint; the recipe and the seed of the first
            start hold, except for ``training.epochs``.
        progress: told what happens.
        start: run directory or bundle whose recipe, weights and normalisers training
            goes on from; ``operator`` is not asked then.
        more: files with further training samples of the same case and grid.

    Raises:
        OpkitInputError: data, recipe or run directory that cannot be used.
        TrainingError: the loss is not finite, or has exploded.
    """
    directory = RunDirectory(Path(run))
    case = _case(Path(data))
    if resume:
        start, more = _started_from(directory)
    if start is None:
        recipe = resolve_recipe(case, operator, overrides)
    else:
        recipe = onward.resolve(start, overrides)
    if resume:
        recipe, seed = _continued(directory, recipe, Path(data))
    fabric = make_fabric(recipe, device)
    loggers.check(recipe.training.loggers)
    if not fabric.is_global_zero:
        progress = None
    problem = onward.add(prepare(Path(data), recipe, seed), more)
    model = build_model(problem, seed)
    if recipe.training.physics:
        ResidualLoss(problem)  # refuses before anything is written
    fit_normalisers(model, problem)
    prepare_operator(model, problem)
    if start is not None:
        onward.load_weights(model, start)
    if not resume and fabric.is_global_zero:
        directory.create(
            {
                "data": str(Path(data).resolve()),
                "data_hash": problem.data_hash,
                "seed": seed,
                "device": device,
                "recipe": recipe.model_dump(mode="json"),
                "start": None if start is None else str(Path(start).resolve()),
                "more": [str(Path(path).resolve()) for path in more],
            }
        )
    fabric.barrier()
    state = _fit(fabric, problem, model, directory, seed, resume, progress)
    model.to("cpu")
    if fabric.is_global_zero:
        write_bundle(directory, problem, model, state, seed)
    fabric.barrier()
    config = bundle.read_config(directory.bundle)
    if fabric.is_global_zero:
        directory.log("finished", flags=config.flags)
    for flag in config.flags:
        _tell(progress, Warned(flag))
    _tell(
        progress,
        Finished(directory.bundle, state.best_epoch, state.best_value, state.seconds),
    )
    return TrainingResult(
        directory.path,
        directory.bundle,
        state.best_epoch,
        state.best_value,
        config.scores,
        config.flags,
    )


def plan(
    data: Path, *, operator: str, overrides: Sequence[str] = (), seed: int = 0
) -> Plan:
    """Say what training would need: parameters, steps, memory.

    ``step_bytes`` is measured on one sample and multiplied by the batch size.

    Raises:
        OpkitInputError: data or recipe that cannot be used.
    """
    recipe = resolve_recipe(_case(Path(data)), operator, overrides)
    problem = prepare(Path(data), recipe, seed)
    model = build_model(problem, seed)
    prepare_operator(model, problem)
    batches = math.ceil(len(problem.train) / recipe.training.batch_size)
    steps = math.ceil(batches / recipe.training.accumulate)
    fields = problem.train[0].values()
    return Plan(
        recipe=recipe,
        parameters=model.parameter_count,
        train_samples=len(problem.train),
        validation_samples=len(problem.validation),
        steps_per_epoch=steps,
        steps=steps * recipe.training.epochs,
        data_bytes=len(problem.train) * sum(field.nbytes for field in fields),
        step_bytes=step_bytes(model, problem),
    )


def _case(data: Path) -> dict[str, object]:
    with DataFile(data) as file:
        return dict(file.header.case)


def _started_from(directory: RunDirectory) -> tuple[Path | None, list[Path]]:
    config = directory.config()
    start = config.get("start")
    return start and Path(start), [Path(path) for path in config.get("more", [])]


def _continued(
    directory: RunDirectory, asked: Recipe, data: Path
) -> tuple[Recipe, int]:
    config = directory.config()
    recipe = Recipe.model_validate(config["recipe"])
    with DataFile(data, trusted=True) as file:
        if file.content_hash() != config["data_hash"]:
            raise OpkitInputError(
                f"{data} is not the file this run was started with: resume with "
                f"{config['data']}"
            )
    if asked.operator != recipe.operator:
        raise OpkitInputError(
            f"{directory.path} trains {recipe.operator}, not {asked.operator}"
        )
    training = recipe.training.model_copy(update={"epochs": asked.training.epochs})
    return recipe.model_copy(update={"training": training}), int(config["seed"])


def _fit(
    fabric: Fabric,
    problem: Problem,
    model: PhysicalModel,
    directory: RunDirectory,
    seed: int,
    resume: bool,
    progress: Progress | None,
) -> State:
    opened: list[loggers.Logger] = []
    if fabric.is_global_zero:
        recipe = problem.recipe
        opened = loggers.open_loggers(recipe.training.loggers, directory.path, recipe)

    def tell(event: Event) -> None:
        if isinstance(event, Epoch):
            for logger in opened:
                logger.epoch(event)
        _tell(progress, event)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loop = Loop(fabric, problem, model, directory, seed, tell)
        if resume:
            loop.resume()
        _started(loop, directory, model, progress)
        try:
            return loop.fit()
        except guards.TrainingError as error:
            directory.log("failed", reason=str(error))
            raise
        finally:
            for logger in opened:
                logger.close()


def _started(
    loop: Loop, directory: RunDirectory, model: PhysicalModel, progress: Progress | None
) -> None:
    if not loop.fabric.is_global_zero:
        return
    done = loop.state.epoch
    directory.log(
        "resumed" if done else "started", epoch=done, environment=environment()
    )
    _tell(
        progress,
        Started(
            directory.path,
            model.parameter_count,
            loop.training.epochs,
            loop.steps_per_epoch,
            done,
        ),
    )


def _tell(progress: Progress | None, event: Event) -> None:
    if progress is not None:
        progress(event)
