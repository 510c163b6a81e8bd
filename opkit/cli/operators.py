"""The verb operators: what each works on, its options and their defaults."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON
from opkit.cli.console import as_json, shown, table


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
    found = acceptance()
    if json:
        as_json(
            [
                {
                    "name": each,
                    "geometries": accepts.geometries,
                    "dimensions": accepts.dimensions,
                    "periodic": accepts.periodic,
                    "options": options(each),
                }
                for each, accepts in found.items()
            ]
        )
        return
    table(
        [
            {
                "operator": each,
                "geometry": ", ".join(accepts.geometries),
                "space axes": _axes(accepts.dimensions),
                "options": ", ".join(
                    f"{row['option']} {shown(row['default'])}" for row in options(each)
                ),
            }
            for each, accepts in found.items()
        ]
    )
    print("`opkit operators NAME` describes the options of one.")


def _axes(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def options(name: str) -> list[dict[str, Any]]:
    """Return the options of an operator: name, default, type, description.

    Raises:
        OpkitInputError: the name is unknown.
    """
    from opkit.operators.interface import operator_class

    return described(operator_class(name).Options)


def described(record: Any) -> list[dict[str, Any]]:
    """Return name, default, type and description of a record's fields."""
    schema = record.model_json_schema()
    return [
        {
            "option": key,
            "default": None if field.is_required() else field.get_default(),
            "type": _type(schema["properties"][key]),
            "about": field.description or "",
        }
        for key, field in record.model_fields.items()
    ]


def _type(schema: dict[str, Any]) -> str:
    """Return a field's type in a word or two, out of its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    return str(schema.get("type", "any"))
