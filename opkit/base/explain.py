"""One-line explanations of pydantic's validation errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from opkit.errors import nearest

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""Types of faults that are unknown names."""


def _known_keys(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """Field names accepted where ``path`` leads, as far as annotations tell."""
    return sorted({name for m in _records(model, path) for name in _fields(m)})


def _records(model: Any, path: tuple[int | str, ...]) -> list[Any]:
    """Records that may stand where ``path`` leads."""
    models = [model]
    for part in path:
        inside = [_fields(m)[part] for m in models if part in _fields(m)]
        if not inside:  # an index, a key of a dict, or the tag of a union
            inside = [n for m in models for n in _nested(m) if _fields(n)] or models
        models = inside
    return [m for each in models for m in [each, *_nested(each)] if _fields(m)]


def _fields(model: Any) -> dict[Any, Any]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {k: f.annotation for k, f in model.model_fields.items()}
    fields = getattr(model, "__pydantic_fields__", None)
    if isinstance(model, type) and fields:
        return {k: f.annotation for k, f in fields.items()}
    return {}


def _nested(annotation: Any) -> list[Any]:
    arguments = []
    for argument in get_args(annotation):
        arguments += [argument, *_nested(argument)]
    return arguments


def _elsewhere(key: str, model: Any, prefix: str = "") -> str:
    """Return " Did you mean 'a.key'?" where a nested record has the key."""
    for name, annotation in _fields(model).items():
        for record in [annotation, *_nested(annotation)]:
            if key in _fields(record):
                return f" Did you mean '{prefix}{name}.{key}'?"
    return ""


def _telling(faults: list[Any]) -> Any:
    """Return the fault to speak of: a name that is misspelt is why one is missing."""
    first = faults[0]
    if first["type"] == "missing":
        beside = (f for f in faults if f["loc"][:-1] == first["loc"][:-1])
        return next((f for f in beside if f["type"] in UNKNOWN), first)
    return first


def _tag(error: ValidationError, number: int, model: Any) -> str:
    """Say which kinds there are, of a record whose kind is unknown or not said."""
    fault = error.errors(include_url=False)[number]
    context = fault.get("ctx", {})
    key = str(context.get("discriminator", "kind")).strip("'")
    kinds = (_fields(m).get(key) for m in _records(model, tuple(fault["loc"])))
    known = list(dict.fromkeys(tag for kind in kinds for tag in get_args(kind)))
    given = context.get("tag")
    if given is None:
        return f" has no {key}: give one of {', '.join(known)}."
    hint = nearest(str(given), known) or f" Known: {', '.join(known)}."
    return f".{key}: there is no {str(given)!r}.{hint}"


def _sibling(path: tuple[int | str, ...], model: Any, data: Any) -> str:
    """Return " Did you mean 'x'?" where an entry that lacks a key has one like it.

    A misspelt name in a dict of records is a new record, which is not whole.
    """
    place, entry, siblings = data, "", list[str]()
    for depth, part in enumerate(path):
        if not isinstance(place, Mapping) or part not in place:
            break
        others = [str(key) for key in place if key != part]
        if str(part) not in _known_keys(model, path[:depth]):
            entry, siblings = str(part), others
        place = place[part]
    return nearest(entry, siblings)


def explain(error: ValidationError, model: Any, data: Any = None) -> str:
    """Say the first fault in one line: where, what, and the nearest known key.

    Args:
        error: what pydantic raised.
        model: the record that was to be made.
        data: what it was to be made of; names entries like one that is not whole.
    """
    faults = error.errors(include_url=False, include_context=False)
    first = _telling(faults)
    path = tuple(first["loc"])
    where = ".".join(str(part) for part in path)
    others = error.error_count() - 1
    more = f" (and {others} more)" if others else ""
    if first["type"] in UNKNOWN:
        keys = _known_keys(model, path[:-1])
        hint = (
            nearest(str(path[-1]), keys)
            or _elsewhere(str(path[-1]), model)
            or f" Known keys: {', '.join(keys)}."
        )
        return f"unknown key {where!r}.{hint}{more}"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = _tag(error, faults.index(first), model)
        return f"{where}{tag}{_sibling(path, model, data)}{more}"
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f", not {value!r:.80}" if isinstance(value, (str, int, float, bool)) else ""
    if first["type"] == "missing":
        hint = _sibling(path, model, data)
        return f"{where} is missing{hint and '.' + hint}{more}"
    place = f"{where}: " if where else ""
    return f"{place}{message[:1].lower()}{message[1:]}{shown}{more}"
