"""Conjugate gradients with any preconditioner, to a residual that is guaranteed.

    z = B(r),   d = z - Σ_j (zᵀ A d_j / d_jᵀ A d_j) d_j,   r = b - A u,
    u ← u + (dᵀ r / dᵀ A d) d

A is symmetric positive definite. B may be any map of residuals to corrections, such as
a neural network: it need be neither linear nor symmetric nor the same at each step.
Each step is the best one along its direction, so the error in the energy norm never
grows. Where B is of no use a conventional preconditioner takes over, and the residual
is computed from u itself before it is believed: a bad B costs time, never accuracy.

Source: Notay, Flexible conjugate gradients, SIAM J. Sci. Comput. 22 (2000),
doi:10.1137/S1064827599362314.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import NotConvergedError, OpkitInputError

Map = Callable[[Array], Array]

USELESS = 1e-6
"""Least cosine between a residual and its correction; below it the latter is dropped"""
RESTARTS = 4
"""How often the recurrence may claim a residual that u does not have."""


@dataclass(frozen=True)
class Solved:
    """What `flexible_cg` hands back.

    Args:
        solution: u.
        iterations: preconditioned steps.
        residuals: ``|b - A u| / |b|`` at the start and after each step; the last one is
            computed from u, the others by the recurrence.
        dropped: steps whose correction was not used, because it was not finite or
            nearly orthogonal to the residual.
        handed_over: steps after which the conventional preconditioner took over; None
            where it did not.
    """

    solution: Array
    iterations: int
    residuals: tuple[float, ...]
    dropped: int
    handed_over: int | None


def scaled_guess(
    apply: Map, b: Array, guess: Array, norm: Literal["energy", "residual"] = "energy"
) -> Array:
    """Scale a first guess so that it is never worse than zero.

        energy: s = xᵀ b / xᵀ A x,   residual: s = (A x)ᵀ b / |A x|²

    s x is the best multiple of the guess x, in the energy norm of the error or in the
    norm of the residual.

    Args:
        apply: u -> A u, symmetric positive definite.
        b: right side.
        guess: x; zero, or not finite, gives zero.
        norm: in which the guess is never worse than zero.

    Returns:
        s x.
    """
    if not np.isfinite(guess).all():
        return np.zeros_like(b)
    image = apply(guess)
    left = guess if norm == "energy" else image
    size = float(np.vdot(left, image))
    factor = float(np.vdot(left, b)) / size if size > 0 else 0.0
    scaled: Array = guess * factor
    return scaled if np.isfinite(scaled).all() else np.zeros_like(b)


def flexible_cg(
    apply: Map,
    b: Array,
    precondition: Map,
    *,
    tolerance: float = 1e-8,
    start: Array | None = None,
    conventional: Map | None = None,
    restart: int = 20,
    patience: int | None = 20,
    max_iterations: int = 5000,
) -> Solved:
    """Solve A u = b until ``|b - A u| <= tolerance |b|``.

    Args:
        apply: u -> A u, symmetric positive definite on arrays of the shape of b. It
            returns a new array.
        b: right side, float64.
        precondition: r -> z, any map.
        tolerance: relative residual to reach, in the Euclidean norm.
        start: first guess, taken as it is (see `scaled_guess`); zero where None.
        conventional: r -> z, linear, symmetric and positive definite: takes over where
            ``precondition`` is of no use; the identity where None.
        restart: directions that are kept at most; then all but the last are dropped. 1
            is enough for a linear symmetric preconditioner.
        patience: steps within which the smallest residual has to be halved; else
            ``conventional`` does the rest. None waits for ever.
        max_iterations: at most so many steps.

    Returns:
        The solution with a residual, computed from it, below the tolerance.

    Raises:
        OpkitInputError: b or the guess is not finite, or numbers that cannot be.
        NotConvergedError: the tolerance was not reached in ``max_iterations`` steps,
            lies below rounding, or A is not positive definite.
    """
    if not 0 < tolerance < 1 or restart < 1 or (patience is not None and patience < 1):
        raise OpkitInputError(
            f"flexible_cg: tolerance {tolerance:g}, restart {restart}, patience "
            f"{patience}: give a tolerance between 0 and 1, and counts from 1 on"
        )
    if not np.isfinite(b).all() or (start is not None and not np.isfinite(start).all()):
        raise OpkitInputError("flexible_cg: NaN or infinity in b or start: remove it")
    return _Iteration(
        apply, b, precondition, conventional or np.copy, tolerance, restart
    ).run(start, patience, max_iterations)


class _Iteration:
    """One run of `flexible_cg`: its arguments, and the directions that it keeps."""

    def __init__(
        self,
        apply: Map,
        b: Array,
        precondition: Map,
        conventional: Map,
        tolerance: float,
        restart: int,
    ) -> None:
        self.apply, self.b, self.tolerance = apply, b, tolerance
        self.precondition, self.conventional = precondition, conventional
        self.restart, self.dropped = restart, 0
        self.kept: list[tuple[Array, Array, float]] = []  # d, A d, dᵀ A d

    def run(
        self, start: Array | None, patience: int | None, max_iterations: int
    ) -> Solved:
        u = np.zeros_like(self.b) if start is None else start.astype(np.float64)
        r = self.b - self.apply(u)
        scale = float(np.linalg.norm(self.b))
        residuals = [float(np.linalg.norm(r)) / scale if scale else 0.0]
        handed_over, claims = None, 0
        least, since = residuals[0], 0  # smallest residual, halved last after so many
        for iteration in range(max_iterations + 1):
            if scale == 0:
                return Solved(np.zeros_like(self.b), 0, (0.0,), 0, None)
            if residuals[-1] <= self.tolerance:
                r = self.b - self.apply(u)
                residuals[-1] = float(np.linalg.norm(r)) / scale
                if residuals[-1] <= self.tolerance:
                    return Solved(
                        u, iteration, tuple(residuals), self.dropped, handed_over
                    )
                self.kept.clear()
                claims += 1
            if iteration == max_iterations or claims > RESTARTS:
                break
            if residuals[-1] <= 0.5 * least:
                least, since = residuals[-1], iteration
            if handed_over is None and patience and iteration - since >= patience:
                handed_over, self.restart = iteration, 1
                self.precondition = self.conventional
                r = self.b - self.apply(u)
                self.kept.clear()
            d, image, curvature = self._direction(r)
            if not curvature > 0:
                raise NotConvergedError(
                    f"conjugate gradients: dᵀ A d = {curvature:.1e} in step "
                    f"{iteration}: A is not positive definite"
                )
            step = float(np.vdot(d, r)) / curvature
            u = u + step * d
            r = r - step * image
            residuals.append(float(np.linalg.norm(r)) / scale)
        raise NotConvergedError(
            f"conjugate gradients stopped at relative residual {residuals[-1]:.1e}, "
            f"above {self.tolerance:.1e}, after {len(residuals) - 1} steps"
        )

    def _direction(self, r: Array) -> tuple[Array, Array, float]:
        """Return the next direction d with A d and dᵀ A d, and keep it."""
        z = np.asarray(self.precondition(r), dtype=np.float64)
        size = float(np.linalg.norm(z)) * float(np.linalg.norm(r))
        # written so that NaN is dropped as well
        useful = np.isfinite(size) and abs(float(np.vdot(z, r))) > USELESS * size
        if not useful and self.precondition is not self.conventional:
            self.dropped += 1
            z = self.conventional(r)
        d = z / (float(np.abs(z).max()) or 1.0)
        for other, image, curvature in self.kept:
            d = d - float(np.vdot(d, image)) / curvature * other
        image = self.apply(d)
        curvature = float(np.vdot(d, image))
        if len(self.kept) >= self.restart:
            self.kept = self.kept[-1:] if self.restart > 1 else []
        self.kept.append((d, image, curvature))
        return d, image, curvature
