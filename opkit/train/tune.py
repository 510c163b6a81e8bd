"""Search over a recipe's ``search:`` block with Optuna."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opkit.case.recipe import Range
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError, require
from opkit.surrogate.bundle.files import read_config
from opkit.train import TrainingError, train
from opkit.train.loop.recipes import resolve_recipe


@dataclass(frozen=True)
class Trial:
    """One set of values that was tried.

    Args:
        number: from 0.
        settings: overrides such as ``"training.learning_rate=0.002"``.
        validation: best validation error; None where training failed.
        run: run directory.
    """

    number: int
    settings: tuple[str, ...]
    validation: float | None
    run: Path


def tune(
    data: Path,
    folder: Path,
    *,
    operator: str,
    trials: int,
    overrides: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Train with values drawn from the recipe's ``search:`` block; best first.

    Values are compared by the best validation error; the test split stays unseen by the
    search. Trial n is the run ``folder/trial-nnn``; the same seed gives the same
    values.

    Args:
        data: data file.
        folder: new folder for the runs.
        operator: name of a recipe of the data's case, or of an operator.
        trials: number of runs.
        overrides: settings for all runs; ``search.KEY={low: 1, high: 2}`` adds a key.
        seed: of the search and of every run.
        device: see `train`.
        progress: told about every finished trial.

    Raises:
        OpkitInputError: no ``search:`` block, or a folder that is not empty.
        MissingExtraError: Optuna is not installed.
    """
    optuna = require("optuna", "tune")
    with DataFile(data) as file:
        recipe = resolve_recipe(dict(file.header.case), operator, overrides)
    if not recipe.search:
        raise OpkitInputError(
            f"recipe {operator} has no search block: add one to the case, or "
            '--set "search={training.learning_rate: {low: 1e-4, high: 1e-2}}"'
        )
    if folder.exists() and any(folder.iterdir()):
        raise OpkitInputError(f"{folder} is not empty: choose another --out")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    done: list[Trial] = []

    def objective(trial: Any) -> float:
        settings = tuple(
            f"{key}={json.dumps(suggest(trial, key, values))}"
            for key, values in recipe.search.items()
        )
        run = folder / f"trial-{trial.number:03d}"
        try:
            train(
                data,
                run,
                operator=operator,
                overrides=[*overrides, *settings],
                seed=seed,
                device=device,
            )
        except TrainingError as error:
            _note(done, Trial(trial.number, settings, None, run), progress)
            raise optuna.TrialPruned(str(error)) from None
        value = read_config(run).provenance.best_validation
        _note(done, Trial(trial.number, settings, value, run), progress)
        return value

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return sorted(
        done, key=lambda t: float("inf") if t.validation is None else t.validation
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


def _note(
    done: list[Trial], trial: Trial, progress: Callable[[Trial], None] | None
) -> None:
    done.append(trial)
    if progress is not None:
        progress(trial)
