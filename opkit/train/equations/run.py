"""Train a hypernetwork on the random PDEs of a case: from command to weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opkit import hypino
from opkit.base.environment import command, environment
from opkit.case import list_cases, load_case
from opkit.errors import OpkitInputError
from opkit.metrics import functional
from opkit.operators.hypino.network import HyPINO
from opkit.surrogate.bundle.files import HYPERNETWORK
from opkit.surrogate.bundle.record import Score
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.equations.setup import (
    OPERATOR,
    EquationSetup,
    build_hypernetwork,
    prepare,
)
from opkit.train.equations.stream import ProblemStream, as_problems
from opkit.train.equations.task import POINTS, EquationTask
from opkit.train.loop import loggers
from opkit.train.loop.attempt import attempt
from opkit.train.loop.batches import Slice
from opkit.train.loop.devices import make_fabric
from opkit.train.loop.events import Progress
from opkit.train.loop.fit import TrainingResult, finish, fit
from opkit.train.loop.loop import State
from opkit.train.loop.plan import Plan, step_bytes
from opkit.train.loop.recipes import continued, merge_recipe


@torch.no_grad()
def scores(model: HyPINO, stream: ProblemStream) -> tuple[Score, ...]:
    """Relative L2 on problems never trained on, of the model and of the mean of u."""
    sample = stream.labelled("test")
    problems = as_problems(sample.fields)
    inside = problems.weights
    exact = problems.solution[0]
    values = torch.cat(
        [
            model.solve(part).value(part.points)
            for part in (
                problems.select(slice(k, k + 64)) for k in range(0, len(problems), 64)
            )
        ]
    )
    mean = (exact * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True)

    def row(predictor: str, u: Tensor) -> Score:
        prediction, target = ((f * inside)[:, None] for f in (u, exact))
        value = functional.error("relative_l2")(prediction, target, POINTS).mean()
        return Score(
            predictor=predictor,
            split="test",
            resolution=stream.resolution,
            samples=len(problems),
            relative_l2=float(value),
        )

    return row("surrogate", values), row("mean", mean.expand_as(exact))


def train(
    case_name: str,
    run: Path,
    operator: str,
    overrides: Sequence[str],
    seed: int,
    device: str,
    resume: bool,
    progress: Progress | None,
) -> TrainingResult:
    """Train a hypernetwork on the equations a case draws.

    Raises:
        OpkitInputError: case, recipe or run directory that cannot be used.
        TrainingError: the loss is not finite, or has exploded.
    """
    directory = RunDirectory(run)
    case = load_case(case_name)
    if resume:
        operator_name = merge_recipe(case.dump(), operator, ()).operator
        recipe, seed = continued(directory, operator_name, overrides)
    else:
        recipe = merge_recipe(case.dump(), operator, overrides)
    fabric = make_fabric(recipe, device)
    loggers.check_loggers(recipe.training.loggers)
    if not fabric.is_global_zero:
        progress = None
    setup = prepare(case, recipe, seed)
    model = build_hypernetwork(setup, seed)
    main = fabric.is_global_zero
    if not resume and main:
        directory.create(
            {
                "data": case_name,
                "seed": seed,
                "device": device,
                "recipe": recipe.model_dump(mode="json"),
            }
        )
    with directory.held(main):
        with attempt(directory, recipe.training.epochs, not resume, main):
            fabric.barrier()
            task = EquationTask(recipe.training, setup.stream, model.shape.activation)
            state = fit(fabric, task, model, directory, recipe, seed, resume, progress)
        path = directory.bundle / HYPERNETWORK
        rows = scores(model.eval(), setup.stream)
        flags: tuple[str, ...] = ()
        if not rows[0].relative_l2 < rows[1].relative_l2:
            flags = (
                f"not better than the mean of u: relative L2 {rows[0].relative_l2:.3g} "
                f"against {rows[1].relative_l2:.3g}",
            )
        if main:
            path.parent.mkdir(exist_ok=True)
            hypino.save(model, path, _card(setup, state, seed, rows, flags))
            directory.log(
                "finished", flags=flags, case=case_name, test=rows[0].relative_l2
            )
        fabric.barrier()
        return finish(directory, state, path, rows, flags, progress)


def plan(case_name: str, operator: str, overrides: Sequence[str], seed: int) -> Plan:
    """Say what training would need; a step is measured on eight problems.

    Raises:
        OpkitInputError: case or recipe that cannot be used.
    """
    case = load_case(case_name)
    recipe = merge_recipe(case.dump(), operator, overrides)
    setup = prepare(case, recipe, seed)
    model = build_hypernetwork(setup, seed)
    task = EquationTask(recipe.training, setup.stream, model.shape.activation)
    part = Slice(torch.arange(8), torch.ones(8), 8)
    batch, _ = next(setup.stream.draw(1, [part], torch.device("cpu")))
    return Plan.of(
        recipe,
        parameters=sum(p.numel() for p in model.parameters()),
        train_samples=len(setup.stream),
        validation_samples=len(task.selection),
        data_bytes=setup.stream.options.chunk
        * sum(t.nbytes for t in batch.values())
        // 8,
        step_bytes=step_bytes(
            model,
            lambda: task.errors(model, batch, torch.Generator()),
            recipe.training.batch_size / 8,
        ),
    )


def _card(
    setup: EquationSetup,
    state: State,
    seed: int,
    rows: tuple[Score, ...],
    flags: tuple[str, ...],
) -> dict[str, Any]:
    return {
        "recipe": setup.recipe.model_dump(mode="json"),
        "distribution": setup.stream.distribution.model_dump(mode="json"),
        "seed": seed,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "best_validation": state.best_value,
        "seconds": state.seconds,
        "environment": environment(),
        "command": command(),
        "scores": [row.model_dump(mode="json") for row in rows],
        "flags": flags,
    }


def reads_equations(data: Path, operator: str) -> bool:
    """Say whether the first argument of training names a case and not a file.

    Raises:
        OpkitInputError: a data file for the operator that reads equations.
    """
    named = not data.exists() and str(data) in list_cases()
    if not named and (operator == OPERATOR or operator.startswith(f"{OPERATOR}-")):
        raise OpkitInputError(
            f"{operator} trains on equations drawn as it goes, not on a file: "
            f"opkit train manufactured --operator {operator}"
        )
    return named
