"""Fit the weights of a solution to the residual of its PDE."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from opkit.hypino.ensemble import Ensemble
from opkit.hypino.refine import magnitude
from opkit.hypino.residuals import (
    TensorProblem,
    defect,
    nothing,
)
from opkit.operators.hypino.target import Target
from opkit.pde.raster import assemble


def fine_tune(
    problem: TensorProblem,
    start: Ensemble,
    steps: int,
    lbfgs_steps: int = 0,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Ensemble:
    """Fit all weights of a solution to its own residual: Adam, then L-BFGS.

    Args:
        problem: to solve, as tensors.
        start: solution to begin with.
        steps: of Adam with a cosine schedule, on fresh points each.
        lbfgs_steps: then of L-BFGS with strong Wolfe search, on fixed points.
        learning_rate: of Adam.
        seed: of the points.

    Returns:
        The better of start and fitted solution, by the residual norm of `defect`.
    """
    generator = torch.Generator(problem.coefficients.device).manual_seed(seed + 1)
    scale = magnitude(problem, nothing)
    leaves = [
        [t.detach().clone().requires_grad_() for t in member.tensors()]
        for member in start.members
    ]
    flat = [t for member in leaves for t in member]
    kinds = [member.activation for member in start.members]

    def ensemble(weights: list[list[Tensor]]) -> Ensemble:
        pairs = zip(weights, kinds, strict=True)
        return Ensemble(
            tuple(Target.from_tensors(m, kind) for m, kind in pairs), start.scales
        )

    fitted = ensemble(leaves)

    def points(count: int) -> TensorProblem:
        drawn = assemble(
            problem.coefficients,
            problem.geometry,
            problem.functions,
            (9, 9),
            (count, count),
            generator,
        )
        return replace(problem, sites=drawn)

    def loss(at: TensorProblem) -> Tensor:
        return (defect(at, fitted.jet) / scale).square().sum()

    optimiser = torch.optim.Adam(flat, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in range(steps):
        optimiser.zero_grad()
        loss(points(512)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    if lbfgs_steps:
        fixed = points(2048)
        newton = torch.optim.LBFGS(
            flat,
            max_iter=lbfgs_steps,
            history_size=60,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

        def closure() -> Tensor:
            newton.zero_grad()
            value = loss(fixed)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        newton.step(closure)  # type: ignore[no-untyped-call]
    done = ensemble([[t.detach() for t in member] for member in leaves])
    with torch.no_grad():
        before, after = (float(defect(problem, e.jet).norm()) for e in (start, done))
    return done if after < before else start
