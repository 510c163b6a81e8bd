"""Inviscid flow past deformed NACA 0012 airfoils, subsonic and transonic.

    ∇·(ρ u) = 0,   ∇·(ρ u ⊗ u + p 1) = 0,   ∇·(ρ u H) = 0,   u·n = 0 on the airfoil,
    H = γ/(γ - 1) p/ρ + |u|²/2,   ρ = p = 1, |u| = M √γ in the free stream,

γ = 1.4; M: Mach number of the free stream; lengths in chords. Airfoil and grid:
`c_grid`. Finite volumes around the grid's nodes, Roe's flux, second order with van
Albada's limiter (`kernels`); Newton's method with GMRES (`newton_krylov`), from the
solution on half the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeVar

import numpy as np
from pydantic import AfterValidator, Field

from opkit.base.arrays import Array
from opkit.errors import OpkitError, OpkitInputError
from opkit.solvers.cheaper import AtNodesOf
from opkit.solvers.euler.airfoil_flow import (
    OUTPUTS,
    STATE,
    AirfoilFlow,
    Answer,
    fields,
    forces,
)
from opkit.solvers.euler.c_grid import CGrid, prolonged
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    Solver,
    solver_dataclass,
    with_parameters,
)
from opkit.solvers.per_sample import numbers

T = TypeVar("T")
_FREE = 7
"""Control nodes that move: the first of eight does not, as in the published law."""
_RANGES = {"mach": (0.1, 0.95), "angle": (-10.0, 10.0)}


def _around(points: int) -> int:
    if points % 22 != 1:
        raise ValueError(
            f"{points} points: give a multiple of 22 and one more; five of 22 cells "
            "lie on either side of the wake"
        )
    return points


Outwards = Annotated[int, Field(ge=9, le=1025)]
Around = Annotated[int, Field(ge=45, le=4401), AfterValidator(_around)]


@solver_dataclass
class Airfoil:
    """Solver of the Euler equations on (y, x) = (outwards, around).

    Numbers of a sample: ``displacements`` (7,), of the design element's control nodes
    but the first (`c_grid`); ``mach`` () in [0.1, 0.95] and ``angle`` (), of attack in
    degrees, in [-10, 10], where a case gives them a law. Outputs: ``density``,
    ``velocity_x``, ``velocity_y``, ``pressure``, and ``mach``, the local Mach number.
    Details: ``lift`` and ``drag``, coefficients per chord.

    Args:
        resolution: nodes outwards and around: 22 k + 1, of which 5 k cells lie on
            either side of the wake and 12 k around the airfoil.
        mach: M where a sample has none.
        angle: angle of attack in degrees where a sample has none.
        rtol: largest residual, |R| over that of the free stream.
    """

    resolution: tuple[Outwards, Around] = (51, 221)
    mach: Annotated[float, Field(ge=0.1, le=0.95)] = 0.8
    angle: Annotated[float, Field(ge=-10, le=10)] = 0.0
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-6

    @cached_property
    def grid(self) -> CGrid:
        """Counts of cells."""
        part = (self.resolution[1] - 1) // 22
        return CGrid(5 * part, 12 * part, self.resolution[0] - 1)

    def coordinates(self) -> Mapping[str, Coordinate]:
        """The logical axes y, outwards, and x, around, from 0 to 1."""
        y, x = (np.linspace(0, 1, n) for n in self.resolution)
        return {
            "y": Coordinate(y, long_name="outwards"),
            "x": Coordinate(x, long_name="around"),
        }

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The control nodes, the Mach number and the angle of attack."""
        return {"displacements": (_FREE,), "mach": (), "angle": ()}

    def sides(self) -> Sides:
        """Airfoil and wake below; the free stream through the others."""
        return {
            "bottom": {"kind": "mixed", "value": 0.0},
            **{side: {"kind": "dirichlet", "value": 0.0}
               for side in ("left", "right", "top")},
        }  # fmt: skip

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw nothing: a case draws the numbers from its laws."""
        del rng
        return {}

    def points(self, inputs: Fields) -> Array:
        """Where the nodes of each sample lie (batch, y, x, 2).

        Raises:
            OpkitInputError: an airfoil whose surfaces meet, or a grid that folds.
        """
        nodes = self.each(inputs, lambda i, flow: flow.nodes.swapaxes(0, 1))
        return np.reshape(nodes, (len(nodes), *self.resolution, 2))

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other, from coarser grids.

        Raises:
            OpkitInputError: numbers of a wrong shape or out of range; an airfoil whose
                surfaces meet; a grid that folds.
            NotConvergedError: the residual stays above rtol.
            MissingExtraError: Numba is not installed.
        """
        answers = self.each(inputs, lambda i, flow: flow.solve(self.rtol))
        return self.solution([fields(a.state) for a in answers], answers)

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        """Solve as `solve` does, from a guess of density, velocity and pressure.

        A guess whose residual is above that of the free stream, or that is no gas, is
        dropped.

        Raises:
            OpkitInputError: a guess on another grid, or not finite; else as `solve`.
        """
        q = self._states(inputs, guess)
        answers = self.each(inputs, lambda i, flow: flow.solve(self.rtol, q[i]))
        return self.solution([fields(a.state) for a in answers], answers)

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """|R| over the |R| of the free stream, one number per sample."""
        q = self._states(inputs, outputs)
        return np.array(self.each(inputs, lambda i, flow: flow.residual(q[i])))

    def cheaper(self) -> Sequence[tuple[str, Solver]]:
        """The same grid with looser tolerances, and coarser ones, prolonged."""
        ladder: list[tuple[str, Solver]] = []
        own = (self.resolution[1] - 1) // 22
        for part in (own, *(p for p in (8, 6, 5, 4, 3, 2) if p < own)):
            outwards = max(8, round((self.resolution[0] - 1) * part / own))
            for rtol in (1e-3, 1e-2, 1e-1):
                if rtol > self.rtol:
                    resolution = (outwards + 1, 22 * part + 1)
                    inner = with_parameters(self, resolution=resolution, rtol=rtol)
                    label = f"{resolution[0]} x {resolution[1]} nodes, rtol {rtol:.0e}"
                    ladder.append((label, Coarser(self, inner)))
        return ladder

    def each(self, inputs: Fields, make: Callable[[int, AirfoilFlow], T]) -> list[T]:
        """Make something of the flow of each sample.

        Raises:
            OpkitInputError: numbers that cannot be used; names the sample.
        """
        own = {"mach": self.mach, "angle": self.angle}
        values = {
            name: numbers(inputs, name, shape)
            for name, shape in self.parameters().items()
            if name in inputs or name not in own
        }
        check_counts(**values)
        results: list[T] = []
        batch = len(values["displacements"])
        for i in range(batch):
            sample = {**own, **{name: value[i] for name, value in values.items()}}
            try:
                results.append(make(i, self._flow(sample)))
            except OpkitError as error:
                if batch > 1:
                    error.sample = i
                raise
        return results

    def solution(
        self, outputs: Sequence[Mapping[str, Array]], answers: Sequence[Answer]
    ) -> Solution:
        """Put together the outputs (first, second) and counts of all samples."""
        pairs = [forces(a) for a in answers]
        details = {
            "iterations": [a.products for a in answers],
            "newton_steps": [a.newton_steps for a in answers],
            "from_guess": [a.from_guess for a in answers],
            "lift": [lift for lift, _ in pairs],
            "drag": [drag for _, drag in pairs],
        }
        return Solution(
            {
                name: np.reshape([o[name].T for o in outputs], (-1, *self.resolution))
                for name in OUTPUTS
            },
            np.array([a.residual for a in answers], dtype=np.float64),
            "relative residual (Euclidean, over that of the free stream)",
            {name: np.asarray(v, np.float64) for name, v in details.items()},
        )

    def _flow(self, sample: Mapping[str, float | Array]) -> AirfoilFlow:
        for name, (low, high) in _RANGES.items():
            if not low <= float(sample[name]) <= high:
                raise OpkitInputError(
                    f"{name} {float(sample[name]):.4g} must be in [{low:g}, {high:g}]"
                )
        moved = np.concatenate([[0.0], np.asarray(sample["displacements"])])
        return AirfoilFlow(
            self.grid,
            self.grid.nodes(moved),
            float(sample["mach"]),
            float(sample["angle"]),
        )

    def _states(self, inputs: Fields, given: Fields) -> Array:
        """ρ, u, v, p (batch, first, second, 4)."""
        values = {name: checked_field(given, name, self.resolution) for name in STATE}
        check_counts(displacements=numbers(inputs, "displacements", (_FREE,)), **values)
        return np.stack(list(values.values()), axis=-1).swapaxes(1, 2)


@dataclass(frozen=True)
class Coarser(AtNodesOf[Airfoil]):
    """A cheaper version, with outputs at the nodes of the full one.

    The coarse grid's nodes lie on the full one's lines; outputs are interpolated
    linearly along these.

    Args:
        full: the solver.
        inner: the same on a coarser grid, or to a looser tolerance.
    """

    inner: Airfoil

    def solve(self, inputs: Fields) -> Solution:
        """Solve cheaply; outputs are on the full solver's grid.

        Raises:
            OpkitInputError: as the full solver.
            NotConvergedError: the residual stays above rtol.
        """
        inner, full = self.inner.grid, self.full.grid
        answers = self.full.each(
            inputs, lambda i, flow: flow.on(inner).solve(self.inner.rtol)
        )
        outputs = [fields(prolonged(a.state, inner, full)) for a in answers]
        return self.full.solution(outputs, answers)
