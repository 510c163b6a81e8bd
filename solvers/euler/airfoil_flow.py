"""The flow past one airfoil: from coarse grids to the fine one, fields and forces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import NotConvergedError, require
from opkit.solvers.euler.c_grid import CGrid, coarsened, prolonged

if TYPE_CHECKING:
    from opkit.solvers.euler.newton_krylov import Flow

OUTPUTS = ("density", "velocity_x", "velocity_y", "pressure", "mach")
STATE = OUTPUTS[:4]
GAMMA = 1.4
_LOOSE = 1e-2
"""Residual at which a coarse solution is good enough to start from."""


@dataclass(frozen=True)
class Answer:
    """The flow past one airfoil, and how it was reached.

    Args:
        state: ρ, u, v, p (first, second, 4).
        residual: |R| over the |R| of the free stream.
        newton_steps: linear systems, those on coarser grids included.
        products: evaluations of R, likewise.
        from_guess: whether a guess was used.
        force: of the fluid on the airfoil (2,), over the dynamic pressure.
        angle: of attack in degrees.
    """

    state: Array
    residual: float
    newton_steps: int
    products: int
    from_guess: bool
    force: Array
    angle: float


@dataclass(frozen=True)
class AirfoilFlow:
    """One sample.

    Args:
        grid: counts of cells.
        nodes: (first, second, 2).
        mach: of the free stream.
        angle: of attack in degrees.
    """

    grid: CGrid
    nodes: Array
    mach: float
    angle: float

    @property
    def free(self) -> Array:
        """ρ, u, v, p of the free stream (4,)."""
        speed, a = self.mach * np.sqrt(GAMMA), np.deg2rad(self.angle)
        return np.array([1.0, speed * np.cos(a), speed * np.sin(a), 1.0])

    @cached_property
    def flow(self) -> Flow:
        """The discrete equations.

        Raises:
            MissingExtraError: Numba is not installed.
        """
        require("numba", "fast")
        from opkit.solvers.euler.newton_krylov import Flow, metrics

        return Flow(metrics(self.nodes, self.grid.wake), self.free)

    def on(self, grid: CGrid) -> AirfoilFlow:
        """The same sample on a coarser grid, whose nodes lie on lines of this one."""
        return replace(self, grid=grid, nodes=coarsened(self.nodes, self.grid, grid))

    def residual(self, q: Array) -> float:
        """|R| over the |R| of the free stream, of ρ, u, v, p (first, second, 4)."""
        return self.flow.residual(self._state(q))

    def solve(self, rtol: float, guess: Array | None = None) -> Answer:
        """Solve from a guess, or from the solution on half the cells.

        Args:
            rtol: largest residual.
            guess: ρ, u, v, p (first, second, 4).

        Raises:
            NotConvergedError: the residual stays above rtol.
        """
        if guess is not None and self.residual(guess) < 1:
            try:
                return self._converge(self._state(guess), rtol, from_guess=True)
            except NotConvergedError:
                pass
        half = self.grid.half()
        if half is None:
            return self._converge(self.flow.stream, rtol)
        try:
            coarse = self.on(half).solve(max(rtol, _LOOSE))
        except NotConvergedError:
            return self._converge(self.flow.stream, rtol)
        start = self._state(prolonged(coarse.state, half, self.grid))
        if not self.flow.residual(start) < 1:
            start = self.flow.stream
        fine = self._converge(start, rtol)
        return replace(
            fine,
            newton_steps=fine.newton_steps + coarse.newton_steps,
            products=fine.products + coarse.products,
        )

    def _converge(self, start: Array, rtol: float, from_guess: bool = False) -> Answer:
        from opkit.solvers.euler.newton_krylov import primitive

        steady = self.flow.solve(start, rtol)
        q = primitive(steady.state)
        pressure = (q[:, 0, 3, None] * self.flow.metrics.wall).sum(axis=0)
        return Answer(
            state=q,
            residual=steady.residual,
            newton_steps=steady.newton_steps,
            products=steady.products,
            from_guess=from_guess,
            force=pressure / (0.5 * GAMMA * self.mach**2),
            angle=self.angle,
        )

    def _state(self, q: Array) -> Array:
        """ρ, ρu, ρv, ρE of ρ, u, v, p, equal on both sides of the wake."""
        from opkit.solvers.euler.newton_krylov import conserved

        state = conserved(q)
        wake = self.grid.wake
        state[len(state) - 1 - wake :, 0] = state[wake::-1, 0]
        return state


def fields(q: Array) -> Mapping[str, Array]:
    """Outputs by name (first, second) of ρ, u, v, p (first, second, 4)."""
    rho, u, v, p = np.moveaxis(q, -1, 0)
    mach = np.sqrt((u * u + v * v) * rho / (GAMMA * p))
    return dict(zip(OUTPUTS, (rho, u, v, p, mach), strict=True))


def forces(answer: Answer) -> tuple[float, float]:
    """Coefficients of lift and drag: across and along the free stream."""
    a = np.deg2rad(answer.angle)
    x, y = answer.force
    return float(y * np.cos(a) - x * np.sin(a)), float(x * np.cos(a) + y * np.sin(a))
