"""The plain endpoint's messages as JSON Schema (draft 2020-12), of one surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opkit.serve.asked import Asked
from opkit.serve.plain import Question
from opkit.serve.vectors import Part, output_parts

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NUMBER: dict[str, Any] = {"type": "number"}
MAYBE: dict[str, Any] = {"type": ["number", "null"]}


def schema(asked: Asked) -> dict[str, Any]:
    """Return the schema of a question; that of its reply stands under ``$defs``."""
    config = asked.surrogate.config
    question = Question.model_json_schema()
    properties = dict(question["properties"])
    names = [part.name for part in asked.inputs]
    properties["inputs"] = _by_name(asked.inputs) | {"required": names}
    steps = 1 if config.history else None
    outputs = output_parts(asked.surrogate, steps)
    wanted = {"enum": [part.name for part in outputs]}
    properties["outputs"]["anyOf"][0]["items"] = wanted
    if not config.history:
        del properties["steps"]
    return {
        "$schema": DRAFT,
        "title": f"A question to {config.operator} for {_case(asked)}",
        "type": "object",
        "properties": properties,
        "required": ["inputs"],
        "additionalProperties": False,
        "$defs": {"reply": _reply(outputs, bool(config.history))},
    }


def _case(asked: Asked) -> str:
    return str(asked.surrogate.config.case.get("name", "imported data"))


def _reply(outputs: Sequence[Part], steps: bool) -> dict[str, Any]:
    numbers = {"type": "object", "additionalProperties": _each(MAYBE)}
    bound = _each({"type": "array", "items": MAYBE} if steps else MAYBE)
    quantity = {
        "type": "object",
        "properties": {
            "value": _each(MAYBE),
            "error_bound": _each(MAYBE),
            "units": {"type": "string"},
        },
    }
    verdict = {
        "type": "object",
        "description": "On the prediction; null stands for infinity.",
        "properties": {
            "error_bound": bound | {"description": "Of the relative L2 error."},
            "coverage": NUMBER,
            "resembles_training": _each({"type": "boolean"}),
            "readings": numbers,
            "p_values": numbers,
            "quantities": {"type": "object", "additionalProperties": quantity},
        },
    }
    action = {"enum": ["accepted", "refined", "solved"]}
    return {
        "type": "object",
        "properties": {
            "outputs": _by_name(outputs, lengths=not steps, nodes=True),
            "level": {"enum": ["surrogate", "checked", "solver"]},
            "action": _each(action),
            "verdict": verdict,
            "quantities": {
                "type": "object",
                "description": "Of the outputs, on levels checked and solver.",
                "additionalProperties": _each(
                    {"type": "array", "items": MAYBE} if steps else MAYBE
                ),
            },
            "seconds": NUMBER,
        },
        "required": ["outputs", "level", "seconds"],
        "additionalProperties": False,
    }


def _by_name(
    parts: Sequence[Part], lengths: bool = True, nodes: bool = False
) -> dict[str, Any]:
    """Return variables by name, each as it is, or picked from by ``nodes``."""
    properties = {}
    for part in parts:
        one = _nested(part.shape, lengths)
        axes = ", ".join(part.axes)
        words = f"{part.units}; ({axes})" if axes else part.units
        forms = [one, {"type": "array", "items": NUMBER}] if nodes else [one]
        whole = [form for one in forms for form in _each(one)["anyOf"]]
        properties[part.name] = {"description": f"In {words}.", "anyOf": whole}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _nested(shape: tuple[int, ...], lengths: bool) -> dict[str, Any]:
    schema = NUMBER
    for count in reversed(shape):
        schema = {"type": "array", "items": schema}
        if lengths:
            schema |= {"minItems": count, "maxItems": count}
    return schema


def _each(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one}]}
