"""Do one task, and carry its result or its error to another process as JSON types."""

from __future__ import annotations

import traceback
from typing import Any

import opkit.errors
from opkit.errors import OpkitError, SolverError
from opkit.generate.shard import Task, make_shard


def run_task(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task and return its result, or its error, as JSON types."""
    try:
        return {"result": make_shard(Task(**task))}
    except MemoryError:
        return _failure("OpkitInputError", "out of memory: fewer workers need less")
    except OpkitError as error:
        message = error.args[0] if error.args else str(error)
        return _failure(type(error).__name__, message, getattr(error, "seed", None))
    except Exception:
        return _failure("OpkitError", traceback.format_exc())


def raise_failure(failure: dict[str, Any]) -> None:
    """Raise in this process what `run_task` reported from another.

    Raises:
        OpkitError: of the class that was raised there.
    """
    kind = getattr(opkit.errors, failure["kind"], OpkitError)
    if not (isinstance(kind, type) and issubclass(kind, OpkitError)):
        kind = OpkitError
    if issubclass(kind, SolverError):
        raise kind(failure["message"], failure["seed"] and tuple(failure["seed"]))
    raise kind(failure["message"])


def _failure(
    kind: str, message: str, seed: tuple[int, int] | None = None
) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "seed": seed}}
