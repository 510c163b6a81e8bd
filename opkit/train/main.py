"""Train an operator on a data file: from the command to the bundle."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from opkit import bundle, scores
from opkit.bundle import BundleConfig, Provenance, Score
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError, require
from opkit.normalise import PhysicalModel
from opkit.recipe import Recipe
from opkit.rundir import RunDirectory, command, environment
from opkit.surrogate import build
from opkit.train import guards
from opkit.train.card import card
from opkit.train.events import Finished, Progress, Started, Warned
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

    Raises:
        OpkitInputError: data, recipe or run directory that cannot be used.
        TrainingError: the loss is not finite, or has exploded.
    """
    directory = RunDirectory(Path(run))
    case = _case(Path(data))
    recipe = resolve_recipe(case, operator, overrides)
    if resume:
        recipe, seed = _continued(directory, recipe, Path(data))
    fabric = _fabric(recipe, device)
    problem = prepare(Path(data), recipe, seed)
    model = build_model(problem, seed)
    mean = fit_normalisers(model, problem)
    prepare_operator(model, problem)
    if not resume and fabric.is_global_zero:
        directory.create(
            {
                "data": str(Path(data).resolve()),
                "data_hash": problem.data_hash,
                "seed": seed,
                "device": device,
                "recipe": recipe.model_dump(mode="json"),
            }
        )
    fabric.barrier()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loop = Loop(fabric, problem, model, directory, seed, progress)
        if resume:
            loop.resume()
        _started(loop, directory, model, progress)
        try:
            state = loop.fit()
        except guards.TrainingError as error:
            directory.log("failed", reason=str(error))
            raise
    model.to("cpu")
    if fabric.is_global_zero:
        _write_bundle(directory, problem, model, state, mean, seed)
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
        parameters=_count(model),
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


def _fabric(recipe: Recipe, device: str) -> Fabric:
    lightning_fabric = require("lightning_fabric", "train")
    if device not in ("auto", "cpu", "cuda"):
        raise OpkitInputError(f"device {device!r}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise OpkitInputError("no CUDA device found: use --device cpu")
    accelerator = device
    if device == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    precision = {"fp32": "32-true", "fp16-mixed": "16-mixed"}.get(
        recipe.training.precision, recipe.training.precision
    )
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    strategy = recipe.training.strategy
    if strategy == "auto" and world > 1:
        strategy = "ddp"
    fabric: Fabric = lightning_fabric.Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(world // local, 1),
        precision=precision,
        strategy=strategy,
    )
    if world > 1:
        fabric.launch()
    return fabric


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
            _count(model),
            loop.training.epochs,
            loop.steps_per_epoch,
            done,
        ),
    )


def _write_bundle(
    directory: RunDirectory,
    problem: Problem,
    model: PhysicalModel,
    state: State,
    mean: torch.Tensor,
    seed: int,
) -> None:
    config = BundleConfig(
        operator=problem.recipe.operator,
        options=problem.recipe.model,
        shape=problem.shape_record(),
        axes=problem.axes,
        inputs=problem.inputs,
        outputs=problem.outputs,
        static_channels=problem.static,
        case=problem.case,
        recipe=problem.recipe,
        provenance=Provenance(
            data=problem.data.name,
            data_hash=problem.data_hash,
            train_samples=len(problem.train),
            validation_samples=len(problem.validation),
            validation_source=problem.validation_source,
            seed=seed,
            epochs=state.epoch,
            best_epoch=state.best_epoch,
            best_validation=state.best_value,
            parameters=_count(model),
            seconds=state.seconds,
            environment=environment(),
            command=command(),
        ),
    )
    weights = state.best_weights
    with DataFile(problem.data, trusted=True) as file:
        split = "test" if "test" in file.header.splits else "validation"
        measurable = split in file.header.splits
    rows: list[Score] = []
    if measurable:
        rows = scores.table(build(config, weights), problem.data, split)
    flags = _flags(rows, problem, state)
    config = config.model_copy(update={"scores": tuple(rows), "flags": flags})
    bundle.write(directory.bundle, config, weights, card(config))


def _flags(rows: list[Score], problem: Problem, state: State) -> tuple[str, ...]:
    flags = []
    trained = problem.shape.shape
    own = {r.predictor: r.relative_l2 for r in rows if r.resolution == trained}
    if own and not own["surrogate"] < own["mean"]:
        flags.append(
            f"not better than the mean predictor: relative L2 {own['surrogate']:.3g} "
            f"against {own['mean']:.3g}"
        )
    expected = problem.recipe.expectation
    if (
        expected is not None
        and own
        and expected.metric == "relative_l2"
        and expected.resolution in (None, trained[-1])
        and own["surrogate"] > 1.5 * expected.value
    ):
        flags.append(
            f"relative L2 {own['surrogate']:.3g} misses the recipe's "
            f"{expected.value:.3g} ({expected.source})"
        )
    return tuple(flags)


def _count(model: PhysicalModel) -> int:
    return sum(p.numel() for p in model.parameters())


def _tell(progress: Progress | None, event: object) -> None:
    if progress is not None:
        progress(event)  # type: ignore[arg-type]
