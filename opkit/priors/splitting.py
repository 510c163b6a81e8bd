"""Inversions with a prior that is known by its proximal operator.

`proximal_gradient` minimises J(u) = D(u) + λ R(u), D differentiable, by

    u' = prox_R(u - ∇D(u) / λ)

J falls in each step where λ is at least the curvature of D (the Lipschitz constant of
∇D): by (1 - 1/k) λ |u' - u|² / 2 where it is k times that. So λ is both the weight of R
and the inverse of the step: a learned R cannot be had at a smaller weight this way.

`half_quadratic` takes any weight ρ > 0, for R is smoothed (its Moreau envelope):

    J(v) = D(v) + ρ M(v),   M(v) = min_x ½|x - v|² + R(x),   ∇M(v) = v - prox_R(v)

and the answer is prox_R(v). Sources: Attouch, Bolte, Svaiter, Math. Program. 137
(2013); Hurault, Leclaire, Papadakis, ICML 2022; Chambolle, J. Math. Imaging Vis. 20
(2004); Beck, Teboulle, IEEE Trans. Image Process. 18 (2009).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.priors.samples import refuse_not_finite

ROUNDING = 1e-6
"""Rise of J, relative to its size, that the errors of R can cause."""


class Prior(Protocol):
    """What an inversion needs of a prior."""

    def proximal(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return x = argmin ½|x - v|² + R(x), and R(x) (batch,); v (batch, ...)."""
        ...


@dataclass(frozen=True)
class Inversion:
    """A field, and how it was reached.

    Args:
        field: the answer.
        objective: J of each iterate; `half_quadratic` begins with that of the start.
        residual: of each iterate, the size of the change of u (`proximal_gradient`) or
            |∇J| (`half_quadratic`); they vanish where J is stationary, and only there.
        converged: whether the residual fell below its tolerance.
    """

    field: Tensor
    objective: tuple[float, ...]
    residual: tuple[float, ...]
    converged: bool


def proximal_gradient(
    misfit: Callable[[Tensor], Tensor],
    prior: Prior,
    start: Tensor,
    weight: float,
    steps: int = 300,
    tolerance: float = 1e-4,
) -> Inversion:
    """Minimise D(u) + λ R(u) in steps of 1/λ.

    Args:
        misfit: D, from one field to a scalar; differentiable.
        prior: R.
        start: first u, without a batch axis.
        weight: λ.
        steps: at most.
        tolerance: of |u' - u|, relative to |u|.

    Raises:
        OpkitInputError: a weight that is not above zero.
        NotConvergedError: J rose; λ is less than the curvature of D.
    """
    _positive(weight)
    u = start.detach()
    objective: list[float] = []
    residual: list[float] = []
    data, slope = _value_and_slope(misfit, u)
    for step in range(steps):
        point, penalty = prior.proximal((u - slope / weight)[None])
        following = point[0].to(u)
        change = float((following - u).norm())
        u = following
        data, slope = _value_and_slope(misfit, u)
        value = data + weight * penalty.item()
        if step and value > objective[-1] + ROUNDING * max(abs(objective[-1]), 1.0):
            raise NotConvergedError(
                f"J rose from {objective[-1]:.6g} to {value:.6g} in step {step + 1}: "
                f"the curvature of the misfit is above the weight {weight:.3g}; give "
                "a larger one, or use half_quadratic"
            )
        objective.append(value)
        residual.append(change)
        if change <= tolerance * float(u.norm()):
            break
    done = bool(residual) and residual[-1] <= tolerance * float(u.norm())
    return Inversion(u, tuple(objective), tuple(residual), done)


def half_quadratic(
    misfit: Callable[[Tensor], Tensor],
    prior: Prior,
    start: Tensor,
    weight: float,
    steps: int = 200,
    tolerance: float = 1e-4,
) -> Inversion:
    """Minimise D(v) + ρ M(v) by L-BFGS, and return the proximal point of v.

    Args:
        misfit: D, from one field to a scalar; differentiable.
        prior: R.
        start: first v, without a batch axis.
        weight: ρ.
        steps: at most.
        tolerance: of |∇J|, relative to its first size.

    Raises:
        OpkitInputError: a weight that is not above zero.
    """
    _positive(weight)
    shape, kind = start.shape, start.dtype
    objective: list[float] = []
    residual: list[float] = []
    latest: dict[bytes, tuple[float, float]] = {}

    def smooth(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        v = torch.from_numpy(flat).to(kind).view(shape)
        data, slope = _value_and_slope(misfit, v)
        point, penalty = prior.proximal(v[None])
        off = v - point[0].to(v)
        value = data + weight * (off.square().sum() / 2 + penalty[0]).item()
        gradient = slope + weight * off
        latest[flat.tobytes()] = value, float(gradient.norm())
        return value, gradient.double().flatten().numpy()

    def record(flat: NDArray[np.float64]) -> None:
        value, size = latest[flat.tobytes()]
        latest.clear()
        objective.append(value)
        residual.append(size)

    at = start.detach().double().flatten().numpy().copy()
    smooth(at)
    record(at)
    limit = tolerance * residual[0]

    def after(flat: NDArray[np.float64]) -> None:
        record(flat)
        if residual[-1] <= limit:
            raise StopIteration

    options: dict[str, float] = {"maxiter": steps, "maxfun": 3 * steps, "maxcor": 20}
    options |= {"ftol": 0.0, "gtol": 0.0}
    if limit:
        at = minimize(
            smooth, at, jac=True, method="L-BFGS-B", options=options, callback=after
        ).x
    v = torch.from_numpy(at).to(kind).view(shape)
    point = prior.proximal(v[None])[0][0].to(kind)
    done = residual[-1] <= limit
    return Inversion(point, tuple(objective), tuple(residual), done)


@dataclass
class TotalVariation:
    """R(x) = w Σ |∇x|, forward differences of fields (y, x), isotropic.

    The dual problem is solved by accelerated projected gradients until the duality gap
    bounds the error of R + ½|x - v|². They begin at the dual of the last call, for
    iterations ask for points that are close to each other.

    Args:
        weight: w.
        tolerance: of the gap, per node.
        steps: at most.
    """

    weight: float
    tolerance: float = 1e-10
    steps: int = 2000
    _dual: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def proximal(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the proximal points (batch, y, x) of v, and R (batch,) there.

        Raises:
            OpkitInputError: v of another number of axes, or not finite.
            NotConvergedError: the gap is too large after all steps.
        """
        if v.ndim != 3:
            raise OpkitInputError(
                f"fields of shape {tuple(v.shape)}: give (batch, y, x)"
            )
        refuse_not_finite(v, "fields")
        p = self._dual
        if p is None or p.shape[1:] != v.shape or p.dtype != v.dtype:
            p = v.new_zeros(2, *v.shape)
        moved, pace = p, 1.0
        nodes = v[0].numel()
        for step in range(self.steps):
            slope = _differences(v - self.weight * _adjoint(moved))
            raised = moved + slope / (8 * self.weight)
            following = raised / raised.norm(dim=0).clamp(min=1)
            faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            moved = following + (pace - 1) / faster * (following - p)
            p, pace = following, faster
            if step % 10 == 9:
                x = v - self.weight * _adjoint(p)
                rise = _differences(x)
                size = rise.norm(dim=0).flatten(1).sum(1)
                gap = self.weight * (size - (rise * p).sum((0, 2, 3)))
                if bool((gap <= self.tolerance * nodes).all()):
                    self._dual = p
                    return x, self.weight * size
        raise NotConvergedError(
            f"total variation: gap {gap.max():.1e} after {self.steps} steps: give more "
            "steps or a larger tolerance"
        )


def _differences(x: Tensor) -> Tensor:
    """Forward differences (2, batch, y, x), zero past the end."""
    zero = torch.zeros_like(x)
    down, along = zero.clone(), zero
    down[:, :-1] = x[:, 1:] - x[:, :-1]
    along[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    return torch.stack([down, along])


def _adjoint(p: Tensor) -> Tensor:
    """Adjoint of `_differences`, the negative divergence."""
    down, along = p
    total = torch.zeros_like(down)
    total[:, 1:] += down[:, :-1]
    total[:, :-1] -= down[:, :-1]
    total[:, :, 1:] += along[:, :, :-1]
    total[:, :, :-1] -= along[:, :, :-1]
    return total


def _value_and_slope(
    misfit: Callable[[Tensor], Tensor], u: Tensor
) -> tuple[float, Tensor]:
    with torch.enable_grad():
        at = u.detach().requires_grad_()
        value = misfit(at)
        (slope,) = torch.autograd.grad(value, at)
    return value.item(), slope


def _positive(weight: float) -> None:
    if not weight > 0:
        raise OpkitInputError(f"weight {weight}: give one above zero")
