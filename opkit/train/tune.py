"""Search over a recipe's ``search:`` block with Optuna."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opkit.base.files import locked, make_folder
from opkit.case.recipe import Range, Recipe
from opkit.datasets.read import DataFile
from opkit.errors import (
    Interrupted,
    MissingExtraError,
    OpkitError,
    OpkitInputError,
    require,
)
from opkit.surrogate.bundle.files import read_config
from opkit.surrogate.bundle.run_directory import LOCK, RunDirectory
from opkit.train import train
from opkit.train.loop import checkpoint
from opkit.train.loop.recipes import resolve_recipe


@dataclass(frozen=True)
class Trial:
    """One set of values that was tried.

    Args:
        number: from 0.
        settings: overrides such as ``"training.learning_rate=0.002"``.
        validation: best validation error; None where the trial failed.
        run: run directory; a trial that failed before its first epoch has none.
        reason: why it failed, in one line; None where it did not.
    """

    number: int
    settings: tuple[str, ...]
    validation: float | None
    run: Path
    reason: str | None = None


def tune(
    data: Path,
    folder: Path,
    *,
    operator: str,
    trials: int,
    overrides: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    progress: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Train with values drawn from the recipe's ``search:`` block; best first.

    Values are compared by the best validation error; the test split stays unseen by the
    search. Trial n is the run ``folder/trial-nnn``; the same seed gives the same
    values. A trial that fails, by values that do not go together or by a loss that
    explodes, is listed with the reason, and the search goes on.

    Args:
        data: data file.
        folder: new folder for the runs.
        operator: name of a recipe of the data's case, or of an operator.
        trials: number of runs.
        overrides: settings for all runs; ``search.KEY={low: 1, high: 2}`` adds a key.
        seed: of the search and of every run.
        device: see `train`.
        resume: go on with the search in ``folder``: finished trials are read, a trial
            with finished epochs goes on after them.
        progress: told about every finished trial.

    Raises:
        OpkitInputError: no ``search:`` block, a folder that is not empty, trials in it
            of another search, or no trial that succeeded.
        DataError: another process searches in the folder.
        Interrupted: instead of a KeyboardInterrupt; it says what is kept.
        MissingExtraError: Optuna is not installed.
    """
    optuna = require("optuna", "tune")
    with DataFile(data) as file:
        case, data_hash = dict(file.header.case), file.content_hash()
    recipe = resolve_recipe(case, operator, overrides)
    if not recipe.search:
        raise OpkitInputError(
            f"recipe {operator} has no search block: add one to the case, or "
            '--set "search={training.learning_rate: {low: 1e-4, high: 1e-2}}"'
        )
    if resume and not folder.is_dir():
        raise OpkitInputError(f"{folder} holds no search: leave --resume out")
    make_folder(folder)
    if not resume and any(path.name != LOCK for path in folder.iterdir()):
        raise OpkitInputError(
            f"{folder} is not empty: choose another --out, or go on with --resume"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    done: list[Trial] = []

    def validation(run: Path, settings: Sequence[str]) -> float:
        """Train one run, or what is missing of it, and return its best value."""
        directory = RunDirectory(run)
        if not directory.bundle.is_dir():
            goes_on = resume and checkpoint.finished(directory.checkpoints) > 0
            if resume and not goes_on and (run / "config.yaml").is_file():
                directory.discard()  # killed in its first epoch
            train(
                data,
                run,
                operator=operator,
                overrides=[] if goes_on else settings,
                seed=seed,
                device=device,
                resume=goes_on,
            )
        return read_config(run).provenance.best_validation

    def attempt(trial: Any) -> Trial:
        chosen = tuple(
            f"{key}={json.dumps(suggest(trial, key, values))}"
            for key, values in recipe.search.items()
        )
        settings = [*overrides, *chosen]
        run = folder / f"trial-{trial.number:03d}"
        if (run / "config.yaml").is_file():
            trial_recipe = resolve_recipe(case, operator, settings)
            _refuse_other_search(run, trial_recipe, seed, data_hash)
        value, reason = None, None
        try:
            value = validation(run, settings)
        except (MissingExtraError, OSError):
            raise  # every other trial would end so
        except Exception as error:
            kind = "" if isinstance(error, OpkitError) else f"{type(error).__name__}: "
            reason = " ".join(f"{kind}{error}".split())
        return Trial(trial.number, chosen, value, run, reason)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    pruned = optuna.trial.TrialState.PRUNED
    try:
        # asked and told, not `study.optimize`, which writes tracebacks to the terminal
        with locked(folder / LOCK, "searches there"):
            for _ in range(trials):
                trial = study.ask()
                done.append(attempt(trial))
                value = done[-1].validation
                study.tell(trial, value, pruned if value is None else None)
                if progress is not None:
                    progress(done[-1])
    except KeyboardInterrupt:
        raise Interrupted(_progress_of(folder, done, trials)) from None
    if all(trial.validation is None for trial in done):
        raise OpkitInputError(
            f"all {trials} trials failed: trial 0 with {done[0].settings}: "
            f"{done[0].reason}"
        )
    return sorted(done, key=_value)


def _value(trial: Trial) -> float:
    return float("inf") if trial.validation is None else trial.validation


def _progress_of(folder: Path, done: Sequence[Trial], trials: int) -> str:
    """Say what is left of a search that was interrupted, and how to go on."""
    begun = any(folder.glob("trial-*/config.yaml"))
    if not (begun or done):
        return f"no trial was finished, nothing is kept in {folder}"
    best = min(done, key=_value, default=None)
    named = ""
    if best is not None and best.validation is not None:
        named = f" (best: trial {best.number}, validation {best.validation:.4g})"
    return (
        f"{len(done)} of {trials} trials are finished{named}, their runs are kept in "
        f"{folder}, go on with the same command and --resume"
    )


def _refuse_other_search(run: Path, recipe: Recipe, seed: int, data_hash: str) -> None:
    config = RunDirectory(run).config()
    same = {
        "settings": config["recipe"] == recipe.model_dump(mode="json"),
        "seed": config.get("seed") == seed,
        "data": config.get("data_hash") == data_hash,
    }
    others = [name for name, equal in same.items() if not equal]
    if others:
        raise OpkitInputError(
            f"{run} is of a search with other {' and '.join(others)}: --resume needs "
            "the words of its first start, or choose another --out"
        )


def suggest(trial: Any, key: str, values: Range) -> Any:
    """Ask for one value of a range or a list."""
    if values.low is None or values.high is None:
        chosen = trial.suggest_categorical(key, range(len(values.choices)))
        return values.choices[chosen]
    if values.integer:
        low, high = round(values.low), round(values.high)
        return trial.suggest_int(key, low, high, log=values.log)
    return trial.suggest_float(key, values.low, values.high, log=values.log)
