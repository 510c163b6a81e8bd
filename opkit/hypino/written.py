"""The network's answer to a PDE: written, refined, fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from opkit.base.arrays import Array
from opkit.errors import NonFiniteError
from opkit.hypino.ensemble import Ensemble
from opkit.hypino.fine_tune import fine_tune
from opkit.hypino.refine import magnitude, refine, write
from opkit.hypino.residuals import TensorProblem, defect, nothing, state
from opkit.operators.hypino.network import HyPINO
from opkit.operators.hypino.target import TargetShape, random_target
from opkit.pde.problem import LinearProblem


@dataclass(frozen=True)
class Written:
    """U(x, y) with exact derivatives, made of small networks.

    Args:
        problem: as tensors.
        networks: that approximate u.
        history: relative residuals: as written and refined, then as fine-tuned. Norms
            of what equation and conditions lack, weighted as in
            `opkit.hypino.residuals.defect`, over that of u = 0.
    """

    problem: TensorProblem
    networks: Ensemble
    history: tuple[float, ...]

    def jet(self, x: Array, y: Array) -> Array:
        """(u, u_x, u_y, u_xx, u_yy) at points (point,): (5, point)."""
        points = torch.from_numpy(np.stack([x, y], -1)[None])
        points = points.to(self.problem.coefficients.dtype)
        with torch.no_grad():
            jet = self.networks.jet(points)[:, 0]
        return np.asarray(jet.double().numpy())


def answer(
    pde: LinearProblem,
    model: HyPINO | None,
    refinements: int,
    steps: int,
    lbfgs_steps: int,
    seed: int,
) -> Written:
    """Let the network write, refine and fit a solution; arguments as in `solve`.

    Raises:
        NonFiniteError: the source or the boundary data are not finite somewhere.
    """
    problem = state_problem(pde)
    size = float(defect(problem, nothing).norm())
    if not math.isfinite(size):
        raise NonFiniteError(
            "source or boundary data are not finite somewhere in the domain: check for "
            "divisions by zero, logarithms and roots"
        )
    if model is not None:
        model.eval()
        average = not (steps or lbfgs_steps)
        networks = write(model, problem, average=average)
        networks, _ = refine(model, problem, networks, refinements, average)
    else:
        generator = torch.Generator().manual_seed(seed)
        first = random_target(TargetShape(), 1, generator, problem.coefficients)
        networks = Ensemble((first,), (magnitude(problem, nothing),))
    history = [float(defect(problem, networks.jet).norm())]
    if steps or lbfgs_steps:
        networks = fine_tune(problem, networks, steps, lbfgs_steps, seed=seed)
        history = [*history, float(defect(problem, networks.jet).norm())]
    return Written(problem, networks, tuple(value / (size or 1.0) for value in history))


def state_problem(
    pde: LinearProblem, dtype: torch.dtype = torch.float32
) -> TensorProblem:
    """Turn a `PDE` into tensors."""
    like = torch.zeros((), dtype=dtype)
    geometry = pde.geometry(like)
    coefficients = torch.tensor([pde.linear.coefficients], dtype=dtype)
    return state(coefficients, geometry, pde.functions(geometry))
