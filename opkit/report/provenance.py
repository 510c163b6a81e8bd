"""The section on provenance: where it ran, and the commands that make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opkit.base.environment import recorded_command
from opkit.case import load_case
from opkit.errors import CaseError
from opkit.report.content import Section, pairs
from opkit.report.subject import Subject


def section(subject: Subject) -> Section:
    """Versions, machine, and commands from the case to this page."""
    provenance = subject.config.provenance
    facts = {
        "format of the bundle": str(subject.config.format_version),
        "SHA-256 of the weights": subject.config.weights_sha256,
        **provenance.environment,
    }
    run = shlex.quote(_named(subject.run))
    data = shlex.quote(_named(subject.evaluation.data))
    commands = (
        generate_command(subject),
        recorded_command(provenance.command)
        or "# the bundle records no command of opkit that trained it",
        f"opkit evaluate {run} --data {data} --solver",
        f"opkit report {run} --data {data}",
    )
    return Section(
        "provenance",
        "Provenance",
        ("The commands below make data, surrogate and page again.",),
        tables=(pairs("Where it was trained", facts),),
        commands=commands,
    )


def generate_command(subject: Subject) -> str:
    """Return the command that makes the data again, from what the file says."""
    header = subject.header
    if not header.case or header.seed is None:
        return "# the data were imported: see opkit import"
    name = str(header.case.get("name"))
    try:
        known = load_case(name).dump()
    except CaseError:
        return (
            f"# the case {name!r} is not one of this installation; it is stored in the "
            "data file"
        )
    words = ["opkit", "generate", "case", name, "--seed", str(header.seed)]
    words += ["--samples", str(header.samples)]
    if header.dtype == "float64":
        words.append("--float64")
    for key, value in _changes(known, dict(header.case)):
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join([*words, "--out", _named(subject.evaluation.data)])


def _named(path: Path) -> str:
    """Return a path as it was typed, but without the folders of this machine."""
    return path.name if path.is_absolute() else str(path)


def _changes(
    registered: dict[str, Any], settings: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the settings that differ from the registered case's."""
    for key, value in settings.items():
        if key == "recipes" and not path:
            continue
        default = registered.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            yield from _changes(default, value, f"{path}{key}.")
        elif value != default:
            yield f"{path}{key}", value
