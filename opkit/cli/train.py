"""The verb train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON
from opkit.cli.console import as_json, progress, say, score_rows, size, table
from opkit.cli.generate import DRY, QUIET

RECIPE_SET = typer.Option(
    "--set",
    metavar="KEY=VALUE",
    help="Override a setting: training.epochs=5. `opkit cases show CASE --recipe` "
    "lists the keys.",
    autocompletion=complete.recipe_keys,
)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(train)


def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Data file, or a case of equations; with --continue or --resume the "
            "run's own."
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            "--operator",
            help="A recipe of the case, or an operator: fno if none is given; with "
            "--resume the run's own.",
            autocompletion=complete.operators,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Run directory to go on with.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--continue", help="Run or bundle whose weights to start from."),
    ] = None,
    more: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Further training samples; may be repeated."),
    ] = None,
    set_: Annotated[list[str] | None, RECIPE_SET] = None,
    dry_run: Annotated[bool, DRY] = False,
    json: Annotated[bool, JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Train an operator on a data file; leaves a run directory with a bundle."""
    from opkit.errors import OpkitInputError
    from opkit.train import (
        Epoch,
        Event,
        Started,
        Step,
        Warned,
        plan,
    )
    from opkit.train import train as run
    from opkit.train.main import DEFAULT_OPERATOR

    overrides = tuple(set_ or ())
    before = resume or start
    if data is None and before is not None:
        from opkit.train.loop.recipes import first_data

        data = first_data(before)
    if data is None:
        raise OpkitInputError(
            "give a data file or a case, or --continue or --resume with a run"
        )
    name = operator or DEFAULT_OPERATOR
    if dry_run:
        if before:
            raise OpkitInputError("--dry-run plans a new run: name data and operator")
        planned = plan(data, operator=name, overrides=overrides, seed=seed)
        if json:
            as_json(planned)
        else:
            table(_plan_rows(planned))
        return
    if resume and out:
        raise OpkitInputError("--resume names the run directory: leave --out away")
    if start and not (out or resume):
        raise OpkitInputError("--continue makes a new run directory: name it with -o")
    folder = resume or out or Path("runs") / f"{data.stem}-{name}"
    steps, done, note, warned = 1, 0, "", list[str]()
    label = f"training -> {folder}" if before else f"{name} -> {folder}"
    with progress(label, "steps", quiet or json) as update:

        def show(event: Event) -> None:
            nonlocal steps, done, note
            if isinstance(event, Started):
                steps, done = event.steps_per_epoch, event.epoch
                update(done * steps, event.epochs * steps, "", done * steps)
                started.append(event)
            elif isinstance(event, Step):
                now = (event.epoch - 1) * steps + event.step
                update(now, started[0].epochs * steps, note, done * steps)
            elif isinstance(event, Epoch):
                note = (
                    f"epoch {event.epoch}/{event.epochs}, loss {event.train_loss:.4f},"
                    f" validation {event.validation:.4f},"
                    f" {event.samples_per_second:.0f} samples/s"
                )
                total = started[0].epochs * steps
                update(event.epoch * steps, total, note, done * steps)
            elif isinstance(event, Warned):
                warned.append(event.flag)

        started: list[Started] = []
        result = run(
            data,
            folder,
            operator=operator,
            overrides=overrides,
            seed=seed,
            device=device,
            resume=resume is not None,
            progress=show,
            start=start,
            more=tuple(more or ()),
        )
    if json:
        as_json(result)
        return
    table(score_rows(result.scores))
    for flag in warned:
        say(f"Warning: {flag}", error=True)
    if not quiet:
        say(f"{folder}: best of epoch {result.best_epoch}, bundle in {result.bundle}")
        if resume and started[0].epoch >= started[0].epochs:
            print(
                f"All {started[0].epochs} epochs were finished before: "
                "--set training.epochs=N with a larger N trains on."
            )


def _plan_rows(planned: Any) -> list[dict[str, Any]]:
    recipe = planned.recipe
    return [
        {"what": "operator", "value": recipe.operator},
        {"what": "parameters", "value": f"{planned.parameters:,}"},
        {"what": "training samples", "value": planned.train_samples},
        {"what": "validation samples", "value": planned.validation_samples},
        {"what": "epochs", "value": recipe.training.epochs},
        {"what": "steps an epoch", "value": planned.steps_per_epoch},
        {"what": "steps", "value": planned.steps},
        {"what": "data", "value": size(planned.data_bytes)},
        {"what": "memory of a step", "value": size(planned.step_bytes)},
    ]
