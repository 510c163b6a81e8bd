"""A surrogate as a traced program of plain tensor operations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram

from opkit.errors import ExportError, OpkitError
from opkit.export.lower import lower
from opkit.export.samples import cycled
from opkit.export.targets import first_line, silent
from opkit.surrogate import Surrogate

EXAMPLE = 2
"""Batch that is traced where any is taken; 1 would be taken for a constant."""


def trace(
    surrogate: Surrogate, samples: tuple[Tensor, ...], batch: int | None
) -> ExportedProgram:
    """Trace a surrogate's model, normalisers included.

    Args:
        surrogate: to be traced, which stays as it is.
        samples: real inputs, any number.
        batch: the one batch size to take; any where None.

    Raises:
        ExportError: the operator does something that cannot be traced, or that exists
            only inside opkit.
    """
    name = surrogate.config.operator
    example = tuple(
        part.to(surrogate.device) for part in cycled(samples, batch or EXAMPLE)
    )
    module = lower(surrogate.model, example)
    size = {0: Dim("batch", min=1)} if batch is None else None
    try:
        with silent(), torch.no_grad():
            program = torch.export.export(
                module, example, dynamic_shapes=tuple(size for _ in example)
            )
    except OpkitError:
        raise
    except Exception as error:  # the tracer raises whatever the operator's code met
        hint = ": try --batch 1" if "Constraints violated" in str(error) else ""
        raise ExportError(
            f"operator {name} cannot be traced ({first_line(error)}){hint}"
        ) from error
    for node in program.graph.nodes:
        op = node.target
        if isinstance(op, OpOverload) and op.namespace not in ("aten", "prims"):
            raise ExportError(
                f"operator {name} cannot be exported: {op} exists only inside opkit"
            )
    return program
