"""Train an operator on a data file: from the command to the bundle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from opkit.base.files import real
from opkit.datasets.field_dataset import alone
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import operator_class
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.equations import run as hypernetwork
from opkit.train.fields import more_data
from opkit.train.fields.finish import write_bundle
from opkit.train.fields.model import (
    build_physical_model,
    fit_normalisers,
    prepare_operator,
)
from opkit.train.fields.setup import prepare
from opkit.train.fields.task import FieldTask, solver_losses
from opkit.train.loop import loggers
from opkit.train.loop.attempt import attempt
from opkit.train.loop.devices import make_fabric
from opkit.train.loop.events import Progress
from opkit.train.loop.fit import TrainingResult, finish, fit
from opkit.train.loop.in_notebook import notebook_progress
from opkit.train.loop.plan import Plan, step_bytes
from opkit.train.loop.recipes import continued, first_operator, resolve_recipe

DEFAULT_OPERATOR = "fno"


def train(
    data: Path,
    run: Path,
    *,
    operator: str | None = None,
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
        data: data file with a training split; or the name of a case that draws
            equations, for a hypernetwork.
        run: run directory to make, or to go on with.
        operator: name of a recipe of the data's case, or of an operator; the run's if
            it goes on, else ``"fno"``.
        overrides: settings of the recipe, such as ``"training.epochs=5"``.
        seed: of weights, order, and augmentation.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``.
        resume: go on from the last checkpoint; the recipe and the seed of the first
            start hold, and only ``training.epochs`` may be changed.
        progress: told what happens; where none is given, a notebook shows a bar.
        start: run directory or bundle whose recipe, weights and normalisers training
            goes on from, with the further samples it was trained with; ``operator`` is
            not asked then. Operators that learn all at once learn anew.
        more: files with further training samples of the same case and grid.

    Raises:
        OpkitInputError: data, recipe or run directory that cannot be used.
        TrainingError: the loss is not finite, or has exploded.
    """
    directory = RunDirectory(Path(run))
    progress = progress or notebook_progress(Path(run))
    if operator is None:
        operator = first_operator(directory) if resume else DEFAULT_OPERATOR
    if hypernetwork.reads_equations(Path(data), operator):
        if start or more:
            raise OpkitInputError(
                f"{data} draws equations: training goes on from a bundle, or with "
                "further files, for operators that train on data files only"
            )
        return hypernetwork.train(
            str(data), Path(run), operator, overrides, seed, device, resume, progress
        )
    case = _case(Path(data))
    if resume:
        _same_data(directory, Path(data))
        start, more = _started_from(directory)
        operator_name = resolve_recipe(case, operator, ()).operator
        recipe, seed = continued(directory, operator_name, overrides)
    elif start is None:
        recipe = resolve_recipe(case, operator, overrides)
    else:
        recipe = more_data.resolve(start, overrides)
        more = more_data.all_files(start, Path(data), more)
    direct = operator_class(recipe.operator).direct
    if direct:  # all is learnt before an epoch
        one = recipe.training.model_copy(update={"epochs": 1})
        recipe = recipe.model_copy(update={"training": one})
    fabric = make_fabric(recipe, device)
    loggers.check_loggers(recipe.training.loggers)
    if not fabric.is_global_zero:
        progress = None
    setup = more_data.add(prepare(Path(data), recipe, seed), more, seed)
    if resume:
        _same_more(directory, setup.more)
    if start is not None:
        more_data.refuse_other_problem(start, setup)
    model = build_physical_model(setup, seed)
    solver_losses(setup)  # refuses before anything is written
    fit_normalisers(model, setup)
    begun = time.perf_counter()
    prepare_operator(model, setup)
    prepared = time.perf_counter() - begun
    if start is not None and not direct:  # which has learnt anew from all samples
        more_data.load_weights(model, start)
    main = fabric.is_global_zero
    if not resume and main:
        directory.create(
            {
                "data": str(real(Path(data))),
                "data_hash": setup.data_hash,
                "seed": seed,
                "device": device,
                "recipe": recipe.model_dump(mode="json"),
                "start": None if start is None else str(real(Path(start))),
                "more": [str(real(Path(path))) for path in more],
                "more_known": list(setup.more),
            }
        )
    with directory.held(main):
        with attempt(directory, recipe.training.epochs, not resume, main):
            fabric.barrier()
            task = FieldTask(model, setup)
            state = fit(fabric, task, model, directory, recipe, seed, resume, progress)
            state.seconds += prepared
            if main:
                write_bundle(directory, setup, model, state, seed)
            fabric.barrier()
        config = bundle.read_config(directory.bundle)
        if main:
            directory.log("finished", flags=config.flags)
        return finish(
            directory, state, directory.bundle, config.scores, config.flags, progress
        )


def plan(
    data: Path,
    *,
    operator: str = DEFAULT_OPERATOR,
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> Plan:
    """Say what training would need: parameters, steps, memory.

    ``step_bytes`` is measured on one sample and multiplied by the batch size.

    Raises:
        OpkitInputError: data or recipe that cannot be used.
    """
    if hypernetwork.reads_equations(Path(data), operator):
        return hypernetwork.plan(str(data), operator, overrides, seed)
    recipe = resolve_recipe(_case(Path(data)), operator, overrides)
    setup = prepare(Path(data), recipe, seed)
    model = build_physical_model(setup, seed)
    prepare_operator(model, setup)
    sample = alone(setup.train[0])
    steps = sample["outputs"].shape[1] if setup.history else 1
    unrolled = min(steps, recipe.training.unroll or steps)

    def forward() -> object:
        return model(Inputs.of(sample), unrolled)

    return Plan.of(
        recipe,
        parameters=model.parameter_count,
        train_samples=len(setup.train),
        validation_samples=len(setup.validation),
        data_bytes=len(setup.train) * sum(v.nbytes for v in sample.values()),
        step_bytes=step_bytes(model, forward, recipe.training.batch_size),
    )


def _case(data: Path) -> dict[str, object]:
    with DataFile(data) as file:
        return dict(file.header.case)


def _started_from(directory: RunDirectory) -> tuple[Path | None, list[Path]]:
    config = directory.config()
    start = config.get("start")
    return start and Path(start), [Path(path) for path in config.get("more", [])]


def _same_data(directory: RunDirectory, data: Path) -> None:
    config = directory.config()
    with DataFile(data, trusted=True) as file:
        if file.content_hash() != config["data_hash"]:
            raise OpkitInputError(
                f"{data} is not the file this run was started with: resume with "
                f"{config['data']}"
            )


def _same_more(directory: RunDirectory, more: Sequence[str]) -> None:
    """Refuse further data that have changed, such as a store that has grown."""
    known = directory.config().get("more_known", list(more))
    changed = [
        text for text, before in zip(more, known, strict=False) if text != before
    ]
    if changed:
        raise OpkitInputError(
            f"{changed[0].partition(' ')[0]} has changed since this run was started: "
            "start a new run with --continue"
        )
