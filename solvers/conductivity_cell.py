"""The effective conductivity of a periodic two-phase cell.

    -∇·(a (e + ∇p)) = 0 on the unit square, p periodic of mean 0,
    A e = <a (e + ∇p)>   for e = e_x, e_y,

A the symmetric matrix of the homogenised medium: numbers xx, xy, yy. Finite volumes
with one cell a pixel and harmonic means on faces, so that laminates along the axes are
solved exactly; conjugate gradients, preconditioned by the constant-coefficient operator
through FFTs. Accuracy: docs/solvers-series.md.

References: Moulinec, Suquet, CMAME 157, 69-94 (1998) (cells by FFT); Milton, The Theory
of Composites, Cambridge, 2002 (laminates; checkerboards: √(a₁ a₂), Dykhne 1971).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array
from opkit.base.records import Record
from opkit.errors import NotConvergedError
from opkit.solvers.inputs import checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
)
from opkit.solvers.laws.periodic_fields import GaussianField

Map = Callable[[Array], Array]


class TwoPhases(Record):
    """Law of the medium: one phase where a Gaussian field is above 0, the other below.

    Args:
        alpha: smoothness of the field.
        tau: its inverse length.
        low: conductivity of one phase.
        high: conductivity of the other.
    """

    alpha: float = Field(default=3.0, gt=0, le=20)
    tau: float = Field(default=12.0, ge=0, le=1e6)
    low: float = Field(default=1.0, gt=0)
    high: float = Field(default=10.0, gt=0)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw the conductivity (y, x)."""
        field = GaussianField(alpha=self.alpha, tau=self.tau, sigma=1.0)
        above = field.sample(rng, shape) > 0
        medium: Array = np.where(above, self.high, self.low)
        return medium


LAW = TwoPhases()


@solver_dataclass
class ConductivityCell:
    """Solver from the conductivity of a cell to that of the homogenised medium.

    Args:
        resolution: (N, N), pixels.
        distribution: law of the conductivity.
        rtol: relative residual of the equations, in the norm of the preconditioner.
        max_iterations: at most so many.
    """

    resolution: tuple[int, int]
    distribution: TwoPhases = LAW
    rtol: float = Field(default=1e-8, ge=1e-13, le=0.1)
    max_iterations: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _square(self) -> ConductivityCell:
        if self.resolution[0] != self.resolution[1] or self.resolution[0] < 4:
            raise ValueError(f"resolution {self.resolution}: give (N, N), 4 or more")
        return self

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Corners of the pixels."""
        return {
            axis: Coordinate(np.arange(n) / n, long_name=axis)
            for axis, n in zip("yx", self.resolution, strict=True)
        }

    def sides(self) -> Sides:
        """The cell is repeated for ever."""
        return all_sides("periodic")

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``conductivity`` (y, x)."""
        return {"conductivity": self.distribution.sample(rng, self.resolution)}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``effective_conductivity`` (batch, 3): xx, xy, yy.

        Raises:
            OpkitInputError: wrong shape, not finite, or not positive.
            NotConvergedError: more iterations than allowed.
        """
        fields = checked_field(inputs, "conductivity", self.resolution, positive=True)
        answers, errors, counts = [], [], []
        for i, a in enumerate(fields):
            matrix, error, count = self._one(a, i)
            answers.append(matrix)
            errors.append(error)
            counts.append(float(count))
        return Solution(
            {"effective_conductivity": np.array(answers).reshape(-1, 3)},
            np.array(errors),
            "relative residual of the finite volumes (in the norm of the inverse "
            "Laplacian), larger of two directions",
            {"iterations": np.array(counts)},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Solve again; largest change of a number, relative to the largest number."""
        given = checked_field(outputs, "effective_conductivity", (3,))
        solved = self.solve(inputs).outputs["effective_conductivity"]
        change = np.abs(given - solved).max(1) / np.abs(solved).max(1)
        worst: Array = np.asarray(change, np.float64)
        return worst

    def _one(self, a: Array, sample: int) -> tuple[list[float], float, int]:
        """Return xx, xy, yy, the residual, and iterations of both directions."""
        n = a.shape[0]
        faces = [2 * a * np.roll(a, -1, k) / (a + np.roll(a, -1, k)) for k in (0, 1)]
        angles = 2 * np.pi * np.fft.fftfreq(n)
        symbol = (2 - 2 * np.cos(angles))[:, None] + (2 - 2 * np.cos(angles))[
            : n // 2 + 1
        ]
        symbol[0, 0] = 1.0

        def apply(p: Array) -> Array:
            total = np.zeros_like(p)
            for k in (0, 1):
                flow = faces[k] * (np.roll(p, -1, k) - p)
                total -= flow - np.roll(flow, 1, k)
            return total

        def precondition(r: Array) -> Array:
            modes = np.fft.rfft2(r) / symbol
            modes[0, 0] = 0.0
            image: Array = np.fft.irfft2(modes, s=r.shape)
            return image

        columns, worst, total = [], 0.0, 0
        for k in (1, 0):  # e_x, e_y; p in units of a pixel
            source = faces[k] - np.roll(faces[k], 1, k)
            p, error, count = self._gradients(apply, precondition, source, sample)
            flows = [faces[j] * (np.roll(p, -1, j) - p + float(j == k)) for j in (1, 0)]
            columns.append([float(flow.mean()) for flow in flows])
            worst, total = max(worst, error), total + count
        (xx, yx), (xy, yy) = columns
        return [xx, (xy + yx) / 2, yy], worst, total

    def _gradients(
        self, apply: Map, precondition: Map, source: Array, sample: int
    ) -> tuple[Array, float, int]:
        """Solve by preconditioned conjugate gradients from p = 0.

        Returns:
            p, the relative residual, and iterations.
        """
        p = np.zeros_like(source)
        r = source.copy()
        z = precondition(r)
        square = start = float((r * z).sum())
        direction = z
        if start <= 0:  # nothing flows aside: a laminate along this direction
            return p, 0.0, 0
        for count in range(1, self.max_iterations + 1):
            image = apply(direction)
            step = square / float((direction * image).sum())
            p += step * direction
            r -= step * image
            z = precondition(r)
            after = float((r * z).sum())
            if after <= self.rtol**2 * start:
                true = source - apply(p)
                error = float((true * precondition(true)).sum()) / start
                return p, max(error, 0.0) ** 0.5, count
            direction = z + after / square * direction
            square = after
        raise NotConvergedError(
            f"residual {(square / start) ** 0.5:.2g} after {self.max_iterations} "
            "iterations: allow more, or a lower contrast",
            sample=sample,
        )
