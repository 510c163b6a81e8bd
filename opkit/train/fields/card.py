"""The model card: what a surrogate is, how good it is, and where its limits are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from opkit.surrogate.bundle.record import BundleConfig, Channels, Score

UNKNOWN = "not recorded (imported data)"
NOT_OF_A_LAW = ("units", "long_name")
ROLES = {
    "fields": "inputs",
    "parameters": "parameters per sample",
    "static": "static fields, given once",
    "boundary": "data on the boundary",
    "series": "functions of time",
}


def card(config: BundleConfig) -> str:
    """Return the card of a bundle as Markdown."""
    case, origin = config.case, config.provenance
    name = case.get("name", "imported data")
    lines = [
        f"# {config.operator} for {name}",
        "",
        f"- equation: {case.get('equation', UNKNOWN)}",
        *(
            f"- {ROLES[role]}: {_variables(variables)}"
            for role, variables in config.by_role.items()
            if variables
        ),
        f"- outputs: {_variables(config.outputs)}",
        f"- grid: {_grid(config.shape.shape)} on "
        + ", ".join(
            f"{axis} of length {length:g}" + (" (periodic)" if closed else "")
            for axis, length, closed in zip(
                config.axes, config.shape.extent, config.shape.periodic, strict=True
            )
        ),
        f"- parameters: {origin.parameters:,}",
        f"- data: {origin.data}, SHA-256 {origin.data_hash[:16]}…, "
        f"{origin.train_samples} training samples, {origin.validation_samples} for "
        f"validation from the {origin.validation_source} split",
        *(f"- law of {what}: `{law}`" for what, law in _laws(config)),
        *(f"- more training data: {name}" for name in origin.more_data),
        f"- training: {origin.epochs} epochs, seed {origin.seed}, "
        f"{origin.seconds:.1f} s; "
        f"weights of epoch {origin.best_epoch}, the best on validation "
        f"({origin.best_validation:.4g})",
        f"- command: `{origin.command}`",
        f"- made with: opkit {config.opkit_version}, "
        + ", ".join(
            f"{name} {origin.environment[name]}"
            for name in ("python", "torch")
            if name in origin.environment
        ),
        "",
        "## Errors",
        "",
        *_errors(config.scores),
        "",
        "## Limits",
        "",
    ]
    lines += [f"- **{flag}**" for flag in config.flags]
    lines += [
        "- Valid for inputs from the distribution of the training data, on the whole "
        "domain; errors elsewhere were not measured.",
        "- On other grids than the one it was trained on see the table above.",
        *_calibration(config),
        "",
    ]
    return "\n".join(lines)


def _laws(config: BundleConfig) -> Iterator[tuple[str, str]]:
    """Yield which inputs a case draws, and by which law."""
    laws = {"fields": config.case.get("distribution")}
    laws |= config.case.get("parameters") or {}
    for what, law in laws.items():
        if isinstance(law, dict) and law:
            shown = {k: v for k, v in law.items() if k not in NOT_OF_A_LAW}
            yield what, ", ".join(f"{k} {_plain(v)}" for k, v in shown.items() if v)


def _plain(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _errors(scores: Sequence[Score]) -> list[str]:
    slopes = any(row.relative_h1 is not None for row in scores)
    more = " relative H1 |" if slopes else ""
    lines = [
        "| predictor | split | grid | samples | relative L2 |"
        f"{more} seconds a sample |",
        "|---|---|---|---|---|---|" + "---|" * slopes,
    ]
    for row in scores:
        slope = "" if row.relative_h1 is None else f" {row.relative_h1:.4f} |"
        seconds = "" if row.seconds is None else f"{row.seconds:.2g}"
        lines.append(
            f"| {row.predictor} | {row.split} | {_grid(row.resolution)} "
            f"| {row.samples} | {row.relative_l2:.4f} |{slope} {seconds} |"
        )
    if scores and scores[0].outputs:
        own = ", ".join(f"{k} {v:.4f}" for k, v in scores[0].outputs.items())
        lines += ["", f"Relative errors of the surrogate by output: {own}."]
    return lines


def _calibration(config: BundleConfig) -> list[str]:
    record = config.calibration
    if record is None:
        return []
    selection = (
        "apart from those that chose the best epoch"
        if record.selection == "apart"
        else "which also chose the best epoch: bounds lean towards optimism"
    )
    scale = [f"{name}^{power:g}" for name, power in record.powers.items() if power]
    lines = [
        f"- Error bounds: split-conformal on {record.samples} samples of the "
        f"{record.source} split, {selection}; scale {' '.join(scale) or 'constant'}.",
        *(f"- Check {name}: {what}." for name, what in record.checks.items()),
        *(f"- No check {name}: {why}." for name, why in record.unavailable.items()),
    ]
    if record.solver_error:
        lines.append(
            f"- The solver itself, on this grid, is off by up to "
            f"{record.solver_error:.2g} from the data, which are of a finer one."
        )
    return lines


def _variables(variables: tuple[Channels, ...]) -> str:
    return ", ".join(
        f"{v.name} [{v.units}]" + (f" x {v.channels}" if v.channels > 1 else "")
        for v in variables
    )


def _grid(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
