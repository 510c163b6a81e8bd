"""The page of the command line, out of the verbs themselves."""

from __future__ import annotations

from typing import Any

from tables import code, table
from typer.main import get_command

from opkit.cli import app


def page() -> str:
    """Return the page: every verb with its arguments, options and help."""
    root = get_command(app)
    parts = [
        "# Command line\n\nEvery verb takes `--help`. Bad input is one line on stderr "
        "with exit code 2; a solver or a training that refuses to go on ends with 1, "
        "Ctrl-C with 130. `--json` prints one JSON document.\n"
    ]
    _add(parts, "opkit", root)
    return "\n".join(parts)


def _add(parts: list[str], path: str, command: Any) -> None:
    if path != "opkit":
        parts.append(f"## {path}\n")
        parts.append((command.help or "").split("\f")[0] + "\n")
        rows = [
            _row(each) for each in command.params if not getattr(each, "hidden", False)
        ]
        parts.append(
            table(row for row in rows if row["argument or option"] != "`--help`")
        )
    for name, inner in getattr(command, "commands", {}).items():
        _add(parts, f"{path} {name}", inner)


def _row(parameter: Any) -> dict[str, str]:
    argument = parameter.param_type_name == "argument"
    words = (
        (parameter.metavar or parameter.name.upper())
        if argument
        else ", ".join(parameter.opts)
    )
    default = parameter.default
    shown = (
        ""
        if argument or default in (None, False, ()) or callable(default)
        else str(default)
    )
    return {
        "argument or option": code(words),
        "default": code(shown),
        "about": getattr(parameter, "help", None) or "",
    }
