"""Losses of HyPINO: residual, derivatives, values and boundary conditions, all Huber.

L = 1/4 L_residual + 1/4 L_derivatives + L_values + 10 L_dirichlet + L_neumann, the
published weights. Derivatives are jets: one pass through the generated networks gives
every term of every problem in the batch, and the encoder runs once.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from opkit.operators.hypino.network import HyPINO
from opkit.operators.hypino.target import Target
from opkit.pde import jets
from opkit.pde.batch import UNIT, Problems

WEIGHTS: Mapping[str, float] = {
    "residual": 0.25,
    "derivatives": 0.25,
    "values": 1.0,
    "dirichlet": 10.0,
    "neumann": 1.0,
}


def hypino_loss(model: HyPINO, problems: Problems) -> dict[str, Tensor]:
    """Terms of the loss of a batch, and their weighted sum under ``loss``."""
    return target_loss(model.solve(problems), problems)


def target_loss(
    target: Target, problems: Problems, relative: bool = False
) -> dict[str, Tensor]:
    """Terms of the loss of given target networks, and their weighted sum ``loss``.

    Huber's δ is 1. Interior terms are means over points of the domain, the last two
    over all boundary points; label terms are means over labelled problems.

    Args:
        target: networks, one per problem.
        problems: what they should solve.
        relative: divide errors of sources and derivatives by their root mean square
            over the domain, in units of `UNIT`, where that is above 1. Otherwise one
            problem with short waves outweighs a batch of smooth ones.
    """
    count = problems.points.shape[1]
    points = torch.cat([problems.points, problems.boundary_points], 1)
    jet = target.jet(points)
    inner, outer = jet[..., :count], jet[..., count:]
    weights = problems.weights / problems.weights.sum(1, keepdim=True).clamp_min(1)
    labels = problems.labelled.to(weights.dtype)
    labels = labels[:, None] * weights / labels.sum().clamp_min(1)
    residual = jets.apply_operator(problems.coefficients, inner)
    n = problems.normals
    flux = outer[1] * n[..., 0] + outer[2] * n[..., 1]
    solution, source = problems.solution, problems.source
    if relative:
        sizes = _excess(solution[1:], weights)
        inner = torch.cat([inner[:1], inner[1:] / sizes])
        solution = torch.cat([solution[:1], solution[1:] / sizes])
        size = _excess(source, weights)
        residual, source = residual / size, source / size
    by_label = (_huber(inner, solution) * labels).sum((1, 2))
    terms = {
        "residual": (_huber(residual, source) * weights).sum(1).mean(),
        "derivatives": by_label[1:].mean(),
        "values": by_label[0],
        "dirichlet": (
            _huber(outer[0], problems.dirichlet_values) * problems.dirichlet
        ).mean(),
        "neumann": (_huber(flux, problems.neumann_values) * problems.neumann).mean(),
    }
    total = sum(
        (WEIGHTS[name] * term for name, term in terms.items()), inner.new_zeros(())
    )
    return {"loss": total, **terms}


def _excess(target: Tensor, weights: Tensor) -> Tensor:
    """Root mean square over the points (..., point) in units of `UNIT`, at least 1."""
    square = (target.square() * weights).sum(-1, keepdim=True)
    return (square.sqrt() / UNIT).clamp_min(1.0)


def _huber(value: Tensor, target: Tensor) -> Tensor:
    return functional.huber_loss(value, target, reduction="none")
