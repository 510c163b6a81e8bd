"""One-line explanations of pydantic's validation errors."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from opkit.errors import nearest

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""Types of faults that are unknown names."""


def _known_keys(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """Field names accepted where ``path`` leads, as far as annotations tell."""
    models = [model]
    for part in path:
        inside = [_fields(m)[part] for m in models if part in _fields(m)]
        if not inside:  # an index, a key of a dict, or the tag of a union
            inside = [n for m in models for n in _nested(m) if _fields(n)] or models
        models = inside
    records = [m for each in models for m in [each, *_nested(each)] if _fields(m)]
    return sorted({name for m in records for name in _fields(m)})


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


def _tag(error: ValidationError, number: int) -> str:
    """Say which kinds there are, of a record whose kind is unknown or not said."""
    context = error.errors(include_url=False)[number].get("ctx", {})
    key = str(context.get("discriminator", "kind")).strip("'")
    known = [
        tag.strip(" '") for tag in str(context.get("expected_tags", "")).split(",")
    ]
    given = context.get("tag")
    if given is None:
        return f" has no {key}"
    hint = nearest(str(given), known) or f" Known: {', '.join(known)}."
    return f".{key}: there is no {str(given)!r}.{hint}"


def explain(error: ValidationError, model: Any) -> str:
    """Say the first fault in one line: where, what, and the nearest known key."""
    faults = error.errors(include_url=False, include_context=False)
    first = _telling(faults)
    path = tuple(first["loc"])
    where = ".".join(str(part) for part in path) or "value"
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
        return f"{where}{_tag(error, faults.index(first))}{more}"
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f", not {value!r:.80}" if isinstance(value, (str, int, float, bool)) else ""
    if first["type"] == "missing":
        return f"{where} is missing{more}"
    return f"{where}: {message[:1].lower()}{message[1:]}{shown}{more}"
