"""Verbs about trained operators: evaluate, predict, plot, runs, tune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opkit.cli import complete
from opkit.cli.cases import FORCE, JSON
from opkit.cli.console import (
    as_json,
    paragraph,
    plain,
    progress,
    say,
    score_rows,
    table,
)
from opkit.cli.generate import QUIET
from opkit.cli.train import RECIPE_SET
from opkit.errors import OpkitInputError

if TYPE_CHECKING:
    from opkit.evaluate.chaos import Chaos


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(evaluate)
    app.command()(predict)
    app.command()(plot)
    app.command()(runs)
    app.command()(tune)


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
    pays: Annotated[
        bool, typer.Option("--pays", help="Whether it pays, against the solver.")
    ] = False,
    samples: Annotated[
        int, typer.Option(min=1, help="For --pays: samples of the split.")
    ] = 8,
    repeats: Annotated[
        int, typer.Option(min=1, help="For --pays: times each is measured.")
    ] = 3,
    budget: Annotated[
        float, typer.Option(min=0, help="For --pays: seconds of measuring.")
    ] = 120.0,
    processor_time: Annotated[
        bool,
        typer.Option("--processor-time", help="For --pays: not the time that passes."),
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="For --pays: PNG of a sample and all times.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing figure.")
    ] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Measure a surrogate's errors per resolution, beside trivial predictors.

    --pays holds it against the solver instead: the cheapest solve with at most its
    error, the exact answer from its prediction, and the queries until generation and
    training are paid back.
    """
    from opkit.evaluate import solver as solver_scores
    from opkit.evaluate.run import evaluate as measure
    from opkit.surrogate.surrogate import load

    if pays:
        _pays(run, data, samples, repeats, budget, processor_time, figure, force, json)
        return
    if figure is not None:
        raise OpkitInputError("--figure belongs to --pays: opkit plot draws the others")
    if rollout:
        _rollout(run, data, threshold, json)
        return
    loaded = load(run)
    result = measure(loaded, data)
    rows = list(result.rows)
    if solver:
        recipe = loaded.config.recipe
        rows += solver_scores.table(recipe, result.data, rows[0].split)
    if json:
        as_json({**plain(result), "rows": rows, "reproduced": result.reproduced})
        return
    table(score_rows(rows))
    if result.reproduced is not None:
        word = "exactly" if result.reproduced else f"up to {result.difference:.1e}"
        print(f"The errors stored in the bundle are reproduced {word}.")
    for flag in result.flags:
        say(f"Warning: {flag}", error=True)


def _pays(
    run: Path,
    data: Path | None,
    samples: int,
    repeats: int,
    budget: float,
    processor_time: bool,
    figure: Path | None,
    force: bool,
    json: bool,
) -> None:
    from opkit.base.files import check_target
    from opkit.evaluate.pays import measure, words
    from opkit.evaluate.run import data_of
    from opkit.figures import times
    from opkit.surrogate.bundle.run_directory import files_of
    from opkit.surrogate.surrogate import load

    loaded = load(run)
    source = data_of(loaded, data)
    if figure is not None:
        check_target(figure, [source, *files_of(run)], force)
    result = measure(run, data, samples, repeats, budget, processor_time)
    if figure is not None:
        seconds = words.bars(result)
        times.draw(loaded, source, result.split, seconds, result.verdict, figure)
    if json:
        as_json(result)
        return
    table(words.rows(result))
    for line in words.lines(result):
        paragraph(line)


def _rollout(run: Path, data: Path | None, threshold: float, json: bool) -> None:
    from opkit.evaluate.chaos import chaos
    from opkit.evaluate.rollouts import rollouts
    from opkit.evaluate.run import data_of
    from opkit.surrogate.surrogate import load

    loaded = load(run)
    path = data_of(loaded, data)
    split = loaded.config.split_in(path)
    result = rollouts(loaded, path, split, threshold)
    chaotic = None
    if loaded.config.case.get("lyapunov_time") is not None:
        chaotic = chaos(loaded, path, split)
    if json:
        far = {} if chaotic is None else {"chaos": plain(chaotic)}
        as_json({**plain(result), "split": split, "horizon": result.horizon, **far})
        return
    columns = {
        "time": result.times.tolist(),
        "relative L2": result.relative_l2,
        "persistence": result.persistence,
        "spectral error": result.spectral_error,
        "mean drift": result.mean_drift,
        "energy drift": result.energy_drift,
    }
    rows = [
        dict(zip(columns, r, strict=True)) for r in zip(*columns.values(), strict=True)
    ]
    table(rows)
    inside = int((result.horizons == float("inf")).sum())
    print(
        f"Relative L2 stays below {threshold:g} up to time {result.horizon:g} "
        f"(median); to the end in {inside} of {len(result.horizons)} trajectories."
    )
    if chaotic is not None:
        _chaos(chaotic, result.horizon)
    pairs = zip(result.relative_l2, result.persistence, strict=True)
    worse = [k for k, (own, still) in enumerate(pairs, 1) if not own < still]
    if worse:
        typer.echo(
            f"Warning: not better than persistence in {len(worse)} of "
            f"{len(result.times)} steps, first in step {worse[0]}",
            err=True,
        )


def _chaos(found: Chaos, horizon: float) -> None:
    """Print the horizon in Lyapunov times, and the climate of long rollouts."""
    if horizon < float("inf"):
        print(
            f"That is {horizon / found.lyapunov_time:.3g} Lyapunov times of "
            f"{found.lyapunov_time:g}."
        )
    rows = [
        {
            "climate of": label,
            "values (W1)": one.values,
            "energy (W1)": one.energy,
            "spectrum (decades)": one.spectrum,
            "variance": one.variance,
        }
        for label, one in (
            (f"{found.steps} steps", found.climate),
            ("half of the data", found.sampling),
        )
    ]
    table(rows)
    growth = "none: it blows up"
    if found.growth is not None:
        growth = f"{found.growth.exponents[0]:.3g} ± {found.growth.errors[0]:.1g}"
    print(
        f"Largest Lyapunov exponent: {growth}; of the case "
        f"{1 / found.lyapunov_time:.3g}. Largest frame: {found.largest:.3g} times the "
        "data's."
    )


def predict(
    run: Annotated[Path, typer.Argument(help="Run directory or bundle.")],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Data file, .nc, .npz or .npy.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=".nc, .h5, .npz or .npy.")],
    split: Annotated[
        str | None, typer.Option(help="Of a data file; default all samples.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu or cuda.", autocompletion=complete.devices)
    ] = "cpu",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Frames to roll out; default those of the file."),
    ] = None,
    subsample: Annotated[
        int | None,
        typer.Option(min=1, help="Stride in space of a data file; default as trained."),
    ] = None,
    json: Annotated[bool, JSON] = False,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Apply a surrogate to the inputs in a file, in physical units."""
    from opkit.surrogate.predict_file import predict as run_it

    shape = run_it(run, source, out, split, device, force, steps, subsample)
    if json:
        as_json({"file": out, "shape": shape})
    else:
        say(f"{out}: {' x '.join(str(n) for n in shape)}")


def plot(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Data file; default the run's own.")
    ] = None,
    animate: Annotated[
        bool,
        typer.Option("--animate", help="Draw a rollout as a GIF, and nothing else."),
    ] = False,
    sample: Annotated[
        int, typer.Option(min=0, help="Test sample that --animate draws.")
    ] = 0,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Draw a run: loss curves, errors per resolution, samples, worst, spectra."""
    from opkit.figures import animation
    from opkit.figures.run import draw

    paths = [animation.draw(run, data, sample)] if animate else draw(run, data)
    if json:
        as_json(paths)
        return
    for path in paths:
        say(path)


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of run directories.")] = Path(
        "runs"
    ),
    json: Annotated[bool, JSON] = False,
) -> None:
    """List the runs in a folder with their figures."""
    from opkit.surrogate.bundle.run_list import list_runs

    listing = list_runs(folder)
    if json:
        as_json(listing)
        return
    rows = [
        {
            "run": run.path.name,
            "case": run.case,
            "operator": run.operator,
            "status": run.status,
            "epochs": run.epochs,
            "validation": run.best_validation,
            "relative L2": run.error,
            "on": run.split,
            "flags": "; ".join(run.flags) or None,
        }
        for run in listing
    ]
    if rows:
        table(rows)
    else:
        say(f"No runs in {folder}.")


def tune(
    data: Annotated[Path, typer.Argument(help="Data file.")],
    operator: Annotated[
        str,
        typer.Option(
            "--operator",
            help="A recipe of the case, or an operator.",
            autocompletion=complete.operators,
        ),
    ] = "fno",
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder.")] = Path(
        "runs/tune"
    ),
    trials: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --out.")
    ] = False,
    set_: Annotated[list[str] | None, RECIPE_SET] = None,
    json: Annotated[bool, JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Search a recipe's `search:` block with Optuna; best runs first."""
    from opkit.train.tune import Trial
    from opkit.train.tune import tune as search

    with progress(f"{operator} -> {out}", "trials", quiet or json) as update:

        def show(trial: Trial) -> None:
            value = trial.validation
            note = "failed" if value is None else f"validation {value:.4f}"
            update(trial.number + 1, trials, note)

        results = search(
            data,
            out,
            operator=operator,
            trials=trials,
            overrides=tuple(set_ or ()),
            seed=seed,
            device=device,
            resume=resume,
            progress=show,
        )
    if json:
        as_json(results)
        return
    rows = [
        {
            "trial": t.number,
            "validation": t.validation,
            "settings": ", ".join(t.settings),
            "run": str(t.run),
        }
        for t in results
    ]
    table(rows)
    for t in results:
        if t.reason is not None:
            say(f"Warning: trial {t.number} failed: {t.reason}", error=True)
