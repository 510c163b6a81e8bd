"""Options of operators and keys of records, as rows of a table."""

from __future__ import annotations

import inspect
import itertools
import re
from typing import Any


def options(name: str) -> list[dict[str, Any]]:
    """Return the options of an operator: name, default, type, description.

    Raises:
        OpkitInputError: the name is unknown.
    """
    from opkit.operators.interface import operator_class

    return described(operator_class(name).Options)


def described(record: Any) -> list[dict[str, Any]]:
    """Return name, default, type and description of a record's fields.

    A description is the field's own, or stands under ``Args`` in the docstring of the
    record or of a class that it is derived from.
    """
    schema = record.model_json_schema()
    arguments = _arguments(record)
    return [
        {
            "option": key,
            "default": None if field.is_required() else field.get_default(),
            "type": _type(schema["properties"][key]),
            "about": field.description or arguments.get(key, ""),
        }
        for key, field in record.model_fields.items()
    ]


def _arguments(record: type) -> dict[str, str]:
    """Return what docstrings say under ``Args``, by name."""
    about: dict[str, str] = {}
    for cls in record.__mro__:
        _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Args:\n")
        lines = itertools.takewhile(
            lambda line: line[:1] in ("", " "), section.split("\n")
        )
        text = "\n".join(line[4:] for line in lines)
        for name, words in re.findall(r"^(\w+): (.*(?:\n .*)*)", text, re.M):
            about.setdefault(name, " ".join(words.replace("``", "`").split()))
    return about


def _type(schema: dict[str, Any]) -> str:
    """Return a field's type in a word or two, out of its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    return str(schema.get("type", "any"))
