"""The messages of UM-Bridge (Seelinger et al., 2023), protocol version 1.

One model, ``forward``: a vector for each input and output. Each function takes the body
of a request and returns the reply as plain data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from opkit.errors import OpkitInputError
from opkit.serve import derivatives
from opkit.serve.asked import Asked, Worker
from opkit.serve.settings import Config

MODEL = "forward"
VERSION = 1.0


class Named(BaseModel):
    """What each message has; further keys are let through, as clients may send some."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    name: str = MODEL
    config: Config = Field(default_factory=Config)


class Evaluate(Named):
    """A vector for each input."""

    input: list[list[float]]


class Gradient(Evaluate):
    """Numbers of an output and an input, and a weight for each value of the output."""

    outWrt: int
    inWrt: int
    sens: list[float]


class ApplyJacobian(Evaluate):
    """Numbers of an output and an input, and a direction of the input."""

    outWrt: int
    inWrt: int
    vec: list[float]


class ApplyHessian(Evaluate):
    """Numbers of an output and two inputs, weights, a direction of the second input."""

    outWrt: int
    inWrt1: int
    inWrt2: int
    sens: list[float]
    vec: list[float]


def info() -> dict[str, Any]:
    """Return the version of the protocol and the names of the models."""
    return {"protocolVersion": VERSION, "models": [MODEL]}


def _model_info(asked: Asked, _: Named) -> dict[str, Any]:
    return {
        "support": {
            "Evaluate": True,
            "Gradient": True,
            "ApplyJacobian": True,
            "ApplyHessian": asked.knows_hessian,
        }
    }


def _input_sizes(asked: Asked, _: Named) -> dict[str, Any]:
    return {"inputSizes": [part.size for part in asked.inputs]}


def _output_sizes(asked: Asked, m: Named) -> dict[str, Any]:
    return {"outputSizes": asked.output_sizes(m.config)}


def _evaluate(asked: Asked, m: Evaluate) -> dict[str, Any]:
    return {"output": asked.evaluate(m.input, m.config)}


def _gradient(asked: Asked, m: Gradient) -> dict[str, Any]:
    return {
        "output": derivatives.gradient(
            asked, m.input, m.outWrt, m.inWrt, m.sens, m.config
        )
    }


def _apply_jacobian(asked: Asked, m: ApplyJacobian) -> dict[str, Any]:
    return {
        "output": derivatives.apply_jacobian(
            asked, m.input, m.outWrt, m.inWrt, m.vec, m.config
        )
    }


def _apply_hessian(asked: Asked, m: ApplyHessian) -> dict[str, Any]:
    to = (m.inWrt1, m.inWrt2)
    return {
        "output": derivatives.apply_hessian(
            asked, m.input, m.outWrt, to, m.sens, m.vec, m.config
        )
    }


MESSAGES: dict[str, tuple[type[Named], Callable[[Asked, Any], dict[str, Any]]]] = {
    "ModelInfo": (Named, _model_info),
    "InputSizes": (Named, _input_sizes),
    "OutputSizes": (Named, _output_sizes),
    "Evaluate": (Evaluate, _evaluate),
    "Gradient": (Gradient, _gradient),
    "ApplyJacobian": (ApplyJacobian, _apply_jacobian),
    "ApplyHessian": (ApplyHessian, _apply_hessian),
}
"""Name of a message to what it has to be, and to what answers it."""


def worker(asked: Asked, message: Named) -> Worker:
    """Say which thread a message is for."""
    return asked.worker(message.config) if isinstance(message, Evaluate) else "quick"


def answer(asked: Asked, kind: str, message: Named) -> dict[str, Any]:
    """Answer a message.

    Args:
        asked: the surrogate.
        kind: a key of `MESSAGES`.
        message: of that kind.

    Raises:
        OpkitInputError: what it asks for cannot be.
    """
    if message.name != MODEL:
        raise OpkitInputError(f"there is no model {message.name!r}: ask for {MODEL!r}")
    return MESSAGES[kind][1](asked, message)
