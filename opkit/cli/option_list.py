"""Options of operators and keys of records, as rows of a table."""

from __future__ import annotations

from typing import Any


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
