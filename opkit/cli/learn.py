"""Verbs about operators: train, evaluate, predict, plot, runs, tune."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opkit.cli.console import progress, size, table
from opkit.cli.data import DRY, QUIET
from opkit.cli.registry import JSON, SET

if TYPE_CHECKING:
    from opkit.bundle import Score


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(predict)
    app.command()(plot)
    app.command()(runs)
    app.command()(tune)


def train(
    data: Annotated[
        Path | None, typer.Argument(help="Data file; with --continue the run's own.")
    ] = None,
    operator: Annotated[
        str, typer.Option("--operator", help="A recipe of the case, or an operator.")
    ] = "fno",
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
    set_: Annotated[list[str] | None, SET] = None,
    dry_run: Annotated[bool, DRY] = False,
    json: Annotated[bool, JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Train an operator on a data file; leaves a run directory with a bundle."""
    from opkit.errors import OpkitInputError
    from opkit.train import Epoch, Event, Started, Step, Warned, plan
    from opkit.train import train as run

    overrides = tuple(set_ or ())
    if data is None and start is not None:
        from opkit.train.onward import first_data

        data = first_data(start)
    if data is None:
        raise OpkitInputError("give a data file, or --continue with a run")
    if dry_run:
        planned = plan(data, operator=operator, overrides=overrides, seed=seed)
        table(_plan_rows(planned), json_=json)
        return
    if resume and out:
        raise OpkitInputError("--resume names the run directory: leave --out away")
    if start and not (out or resume):
        raise OpkitInputError("--continue makes a new run directory: name it with -o")
    folder = resume or out or Path("runs") / f"{data.stem}-{operator}"
    steps, done, note, warned = 1, 0, "", list[str]()
    with progress(f"{operator} -> {folder}", "steps", quiet or json) as update:

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
    table(score_rows(result.scores), json_=json)
    for flag in warned:
        typer.echo(f"Warning: {flag}", err=True)
    if not (json or quiet):
        print(f"{folder}: best of epoch {result.best_epoch}, bundle in {result.bundle}")


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


def score_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Rows of a table of errors."""
    return [
        {
            "predictor": score.predictor,
            "split": score.split,
            "resolution": "x".join(str(n) for n in score.resolution),
            "samples": score.samples,
            "relative L2": score.relative_l2,
            "s/sample": score.seconds,
        }
        for score in scores
    ]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory or bundle.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Data file; default the run's own.")
    ] = None,
    solver: Annotated[
        bool, typer.Option("--solver", help="Add rows of the case's solver, timed.")
    ] = False,
    rollout: Annotated[
        bool, typer.Option("--rollout", help="Errors of every step instead.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(min=0, help="Relative L2 up to which a step is useful.")
    ] = 0.2,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Measure a surrogate's errors per resolution, beside trivial predictors."""
    from opkit import solver_scores
    from opkit.evaluate import evaluate as measure

    if rollout:
        _rollout(run, data, threshold, json)
        return
    result = measure(run, data)
    rows = list(result.rows)
    if solver:
        rows += solver_scores.table(result.data, rows[0].split)
    table(score_rows(rows), json_=json)
    if json:
        return
    if result.reproduced is not None:
        word = "exactly" if result.reproduced else f"up to {result.difference:.1e}"
        print(f"The errors stored in the bundle are reproduced {word}.")
    for flag in result.flags:
        typer.echo(f"Warning: {flag}", err=True)


def _rollout(run: Path, data: Path | None, threshold: float, json: bool) -> None:
    from opkit.evaluate import data_of
    from opkit.rollout_scores import rollouts
    from opkit.surrogate import load

    loaded = load(run)
    split = loaded.config.scores[0].split if loaded.config.scores else "test"
    found = rollouts(loaded, data_of(loaded, run, data), split, threshold)
    columns = {
        "time": found.times.tolist(),
        "relative L2": found.relative_l2,
        "persistence": found.persistence,
        "spectral error": found.spectral_error,
        "mean drift": found.mean_drift,
        "energy drift": found.energy_drift,
    }
    rows = [
        dict(zip(columns, r, strict=True)) for r in zip(*columns.values(), strict=True)
    ]
    table(rows, json_=json)
    if json:
        return
    inside = int((found.horizons == float("inf")).sum())
    print(
        f"Relative L2 stays below {threshold:g} up to time {found.horizon:g} (median); "
        f"to the end in {inside} of {len(found.horizons)} trajectories."
    )


def predict(
    run: Annotated[Path, typer.Argument(help="Run directory or bundle.")],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Data file, .npz or .npy.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=".nc, .h5, .npz or .npy.")],
    split: Annotated[
        str | None, typer.Option(help="Of a data file; default all samples.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Apply a surrogate to the inputs in a file, in physical units."""
    from opkit.predict import predict as run_it

    shape = run_it(run, source, out, split, device)
    print(f"{out}: {' x '.join(str(n) for n in shape)}")


def plot(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Data file; default the run's own.")
    ] = None,
) -> None:
    """Draw a run: loss curves, errors per resolution, samples, worst, spectra."""
    from opkit.figures import draw

    for path in draw(run, data):
        print(path)


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of run directories.")] = Path(
        "runs"
    ),
    json: Annotated[bool, JSON] = False,
) -> None:
    """List the runs in a folder with their figures."""
    from opkit.runs import list_runs

    found = list_runs(folder)
    rows = [
        {
            "run": run.path.name,
            "case": run.case,
            "operator": run.operator,
            "status": run.status,
            "epochs": run.epochs,
            "validation": run.best_validation,
            "test": run.test_error,
            "flags": "; ".join(run.flags) or None,
        }
        for run in found
    ]
    if rows or json:
        table(rows, json_=json)
    else:
        print(f"no runs in {folder}")


def tune(
    data: Annotated[Path, typer.Argument(help="Data file.")],
    operator: Annotated[
        str, typer.Option("--operator", help="A recipe of the case, or an operator.")
    ] = "fno",
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder.")] = Path(
        "runs/tune"
    ),
    trials: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    set_: Annotated[list[str] | None, SET] = None,
    json: Annotated[bool, JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Search a recipe's `search:` block with Optuna; best runs first."""
    from opkit.tune import Trial
    from opkit.tune import tune as search

    with progress(f"{operator} -> {out}", "trials", quiet or json) as update:

        def show(trial: Trial) -> None:
            value = trial.validation
            note = "failed" if value is None else f"validation {value:.4f}"
            update(trial.number + 1, trials, note)

        found = search(
            data,
            out,
            operator=operator,
            trials=trials,
            overrides=tuple(set_ or ()),
            seed=seed,
            device=device,
            progress=show,
        )
    rows = [
        {
            "trial": t.number,
            "validation": t.validation,
            "settings": ", ".join(t.settings),
            "run": str(t.run),
        }
        for t in found
    ]
    table(rows, json_=json)
