"""The sections on training and on errors per resolution."""

from __future__ import annotations

from opkit.base.show import duration
from opkit.report.case_and_data import short
from opkit.report.content import Row, Section, Table, grid, number, pairs
from opkit.report.pictures import chart
from opkit.report.subject import Subject
from opkit.surrogate.bundle.run_directory import RunDirectory


def training_section(subject: Subject) -> Section:
    """Operator, recipe, curves."""
    config = subject.config
    origin, recipe = config.provenance, config.recipe
    facts = {
        "operator": config.operator,
        "parameters": f"{origin.parameters:,}",
        "options": ", ".join(f"{k} {short(v)}" for k, v in config.options.items()),
        "mode": str(recipe.arrangement),
        "grid": grid(config.shape.shape)
        + (f" (every {recipe.subsample} points)" if recipe.subsample > 1 else ""),
        "loss": recipe.training.loss,
        "epochs": f"{origin.epochs}, best on {origin.validation_source} samples: "
        f"{origin.best_epoch} ({number(origin.best_validation, 4)})",
        "samples": f"{origin.train_samples} for training, "
        f"{origin.validation_samples} for validation",
        "time": duration(origin.seconds),
        "seed": str(origin.seed),
    }
    rows = []
    for folder in (subject.run, subject.run.parent):
        if (folder / "config.yaml").is_file():
            rows = RunDirectory(folder).metrics()
            break
    tables = (pairs("Operator and recipe", facts),)
    if not rows:
        text = ("No training curves: this is a bundle without its run directory.",)
        return Section("training", "Training", text, tables=tables)
    epochs = [row["epoch"] for row in rows]
    picture = chart(
        {
            f"training loss ({recipe.training.loss})": (
                epochs,
                [row["train_loss"] for row in rows],
            ),
            f"validation ({recipe.training.metric})": (
                epochs,
                [row["validation"] for row in rows],
            ),
        },
        ("epoch", _axis(recipe.training.loss, recipe.training.metric)),
        f"training curves over {len(rows)} epochs; validation error from "
        f"{rows[0]['validation']:.3g} to {rows[-1]['validation']:.3g}",
        "Training loss and validation error.",
        log="y",
    )
    return Section("training", "Training", tables=tables, rows=(Row("", (picture,)),))


def _axis(loss: str, metric: str) -> str:
    """Name what the curves show: one error, or two."""
    return metric if loss == metric else f"{loss} (training), {metric} (validation)"


def errors_section(subject: Subject) -> Section:
    """The table of errors: surrogate and trivial predictors at each resolution."""
    scores = subject.evaluation
    slopes = any(row.relative_h1 is not None for row in scores.rows)
    kinds = scores.rows[0].outputs if scores.rows else {}
    numbers = scores.rows[0].quantities if kinds else {}
    rows = tuple(
        (
            row.predictor,
            grid(row.resolution),
            str(row.samples),
            number(row.relative_l2),
            *([number(row.relative_h1)] if slopes else []),
            *(number(row.outputs.get(name)) for name in kinds),
            *(number(row.quantities.get(name)) for name in numbers),
            duration(row.seconds),
        )
        for row in scores.rows
    )
    norms: tuple[str, ...] = ("relative L2", *(["relative H1"] if slopes else []))
    norms += tuple(f"of {name}" for name in kinds)
    norms += tuple(f"|error| of {name}" for name in numbers)
    table = Table(
        f"Errors on the {subject.split} split, the mean over samples"
        + (" and frames" if subject.rollout else ""),
        ("predictor", "grid", "samples", *norms, "time a sample"),
        rows,
    )
    if scores.reproduced is None:
        word = "The bundle's stored errors are of other data and cannot be compared."
    elif scores.reproduced:
        word = "The errors stored in the bundle are reproduced exactly."
    else:
        word = f"Stored errors are reproduced up to {scores.difference:.1e} (relative)."
    text = (
        "“mean” predicts the mean of the training outputs at every point; "
        "“persistence” keeps the last given frame, “linear” is one linear step on "
        "the leading modes of the training frames, repeated; “upsampled” interpolates "
        "the surrogate's prediction at its training resolution.",
        word,
    )
    return Section("errors", "Errors per resolution", text, tables=(table,))
