"""One-line explanations of pydantic's validation errors."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from opkit.errors import nearest


def _known_keys(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """Field names accepted where ``path`` leads, as far as annotations tell."""
    for part in path:
        fields = _fields(model)
        if part in fields:
            model = fields[part]
        else:  # an index, a key of a dict, or the tag of a union
            models = [m for m in _nested(model) if _fields(m)]
            model = models[0] if models else None
    models = [m for m in [model, *_nested(model)] if _fields(m)]
    return sorted({name for m in models for name in _fields(m)})


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


def explain(error: ValidationError, model: Any) -> str:
    """Say the first fault in one line: where, what, and the nearest known key."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = tuple(first["loc"])
    where = ".".join(str(part) for part in path) or "value"
    others = error.error_count() - 1
    more = f" (and {others} more)" if others else ""
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        keys = _known_keys(model, path[:-1])
        hint = (
            nearest(str(path[-1]), keys)
            or _elsewhere(str(path[-1]), model)
            or f" Known keys: {', '.join(keys)}."
        )
        return f"unknown key {where!r}.{hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f", not {value!r:.80}" if isinstance(value, (str, int, float, bool)) else ""
    if first["type"] == "missing":
        return f"{where} is missing{more}"
    return f"{where}: {message[:1].lower()}{message[1:]}{shown}{more}"
