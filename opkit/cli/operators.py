"""The verb operators: what each works on, its options and their defaults."""

from __future__ import annotations

from typing import Annotated

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON
from opkit.cli.console import as_json, shown, table
from opkit.cli.option_list import options


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(operators)


def operators(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Operator whose options to describe.",
            autocompletion=complete.operators,
        ),
    ] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """List the neural operators: geometry, space axes, options with defaults."""
    from opkit.operators.interface import acceptance, operator_class

    if name is not None:
        operator_class(name)
        rows = options(name)
        if json:
            as_json(rows)
            return
        accepts = operator_class(name).accepts
        print(
            f"{name}: {', '.join(accepts.geometries)}; "
            f"{_axes(accepts.dimensions)} space axes. "
            "Set options with --set model.OPTION=VALUE."
        )
        for row in rows:
            row["default"] = shown(row["default"])
        table(rows)
        return
    by_name = acceptance()
    if json:
        as_json(
            [
                {
                    "name": each,
                    "geometries": accepts.geometries,
                    "dimensions": accepts.dimensions,
                    "periodic": accepts.periodic,
                    "parameters": accepts.parameters,
                    "needs_fields": accepts.needs_fields,
                    "options": options(each),
                }
                for each, accepts in by_name.items()
            ]
        )
        return
    table(
        [
            {
                "operator": each,
                "geometry": ", ".join(accepts.geometries),
                "space axes": _axes(accepts.dimensions),
                "numbers per sample": accepts.numbers,
                "options": ", ".join(
                    f"{row['option']} {shown(row['default'])}" for row in options(each)
                ),
            }
            for each, accepts in by_name.items()
        ]
    )
    print("`opkit operators NAME` describes the options of one.")


def _axes(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
