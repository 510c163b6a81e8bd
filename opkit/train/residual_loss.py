"""The residual of the PDE as a part of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from opkit.bundle import Channels
from opkit.case import parse_case
from opkit.errors import OpkitInputError
from opkit.train.problem import Problem


class ResidualLoss:
    """Residual of predictions, from the case's own solver, with gradients.

    Solvers that have one offer ``torch_residual(inputs, outputs)`` on dicts of tensors
    (batch, *space) in physical units, and return (batch,); 0 is exact.

    Args:
        problem: case, variables and mode.

    Raises:
        OpkitInputError: no case, a mode that is not ``map``, or a solver without it.
    """

    def __init__(self, problem: Problem) -> None:
        solver: Any = None
        if problem.case and problem.recipe.mode == "map":
            solver = parse_case(problem.case).build_solver()
        if not hasattr(solver, "torch_residual"):
            name = problem.case.get("name", "data without a case")
            raise OpkitInputError(
                f"training.physics: {name} in mode {problem.recipe.mode} has no "
                "residual with gradients: set it to 0"
            )
        self.solver = solver
        self.inputs, self.outputs = problem.inputs, problem.outputs

    def __call__(self, inputs: Tensor, prediction: Tensor) -> Tensor:
        """Return the relative residual of each sample, (batch,)."""
        residual: Tensor = self.solver.torch_residual(
            _by_name(inputs, self.inputs), _by_name(prediction, self.outputs)
        )
        return residual


def _by_name(fields: Tensor, variables: Sequence[Channels]) -> dict[str, Tensor]:
    parts = torch.split(fields, [v.channels for v in variables], 1)
    return {
        v.name: part if v.channels > 1 else part[:, 0]
        for v, part in zip(variables, parts, strict=True)
    }
