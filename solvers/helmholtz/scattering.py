"""A plane wave scattered by an obstacle: the indefinite Helmholtz equation.

    ∆u + k² u = 0 outside of the obstacle,   u outgoing,
    u = -w (soft) or ∂u/∂n = -∂w/∂n (hard) on the obstacle,   w = e^{ikx},

u: scattered field, complex amplitude for the time factor e^{-iωt}; w: incident wave; k:
wave number. The obstacle is star-shaped, its radius

    ρ(θ) = exp Σ_m a_m cos mθ + b_m sin mθ,   m = 2, 3, 4,

is 1 where all coefficients vanish: lengths are in units of it. Another direction of
incidence is another rotation of the obstacle, and no parameter of its own. Method and
boundary at r = R: `helmholtz.equations`. The mesh must resolve more than the wave: the
error of phase grows with k R (pollution; Ihlenburg, Finite Element Analysis of Acoustic
Scattering, 1998), hence degree 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from opkit.base.arrays import Array, Complex
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.solution import Cells
from opkit.solvers.helmholtz.equations import Equations, outgoing_waves
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
    with_parameters,
)

MODES = (2, 3, 4)
OUTPUTS = ("scattered_real", "scattered_imaginary")
_LEAST_GAP = 0.2
_Outwards = Annotated[int, Field(ge=3, le=2049)]
_Around = Annotated[int, Field(ge=8, le=8192, multiple_of=2)]


@solver_dataclass
class HelmholtzScattering:
    """Solver of scattering, fields on (y, x): outwards from the obstacle, and around.

    Parameters of a sample: ``wave_number`` () and ``shape`` (6,), the coefficients a_2,
    a_3, a_4, b_2, b_3, b_4. Outputs: ``scattered_real`` and ``scattered_imaginary``
    (batch, y, x).

    Args:
        resolution: points outwards (odd) and around (even): two for each cell.
        obstacle: ``soft`` (pressure released) or ``hard`` (no motion of its surface).
        radius: R of the circle at which the fields end.
        cells: outwards and around, on which the equations are solved where these are
            not those of ``resolution``; fields are then interpolated to its points, by
            degree 2.
        rtol: largest relative residual, in a norm dual to H¹.
    """

    resolution: tuple[_Outwards, _Around] = (49, 256)
    obstacle: Literal["soft", "hard"] = "soft"
    radius: Annotated[float, Field(ge=1.5, le=100)] = 2.5
    cells: tuple[Cells, Annotated[int, Field(ge=4, le=4096)]] | None = None
    rtol: Annotated[float, Field(ge=1e-16, lt=1)] = 1e-9

    @model_validator(mode="after")
    def _two_points_each_cell(self) -> HelmholtzScattering:
        if self.resolution[0] % 2 == 0:
            raise ValueError(
                f"resolution {self.resolution}: give an odd number of points outwards"
            )
        return self

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: outwards, then counter-clockwise."""
        rows, columns = self.resolution
        return QuadGrid(rows // 2, columns // 2, periodic=True)

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Numbers of a sample."""
        return {"wave_number": (), "shape": (2 * len(MODES),)}

    def sides(self) -> Sides:
        """Closed around the obstacle (x); its surface; the outer circle."""
        kind = "dirichlet" if self.obstacle == "soft" else "neumann"
        return {
            **all_sides("periodic", "x"),
            "bottom": {"kind": kind, "value": "input"},
            "top": {"kind": "mixed", "value": 0.0},
        }

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Logical coordinates in [0, 1]; `points` says where nodes lie."""
        rows, columns = self.grid.shape
        return {
            "y": Coordinate(np.linspace(0, 1, rows), long_name="outwards"),
            "x": Coordinate(np.arange(columns) / columns, long_name="around"),
        }

    def sample(self, rng: np.random.Generator) -> Fields:
        """Nothing: all inputs are parameters, which the case draws."""
        return {}

    def points(self, inputs: Fields) -> Array:
        """Nodes (batch, y, x, 2) of each sample.

        Raises:
            OpkitInputError: the obstacle comes too near to the circle r = R.
        """
        shape = checked_field(inputs, "shape", (2 * len(MODES),))
        placed = [self._place(self.grid, a, i) for i, a in enumerate(shape)]
        points: Array = np.reshape(placed, (len(shape), *self.grid.shape, 2))
        return points

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other, by sparse LU.

        Raises:
            OpkitInputError: a parameter of another shape or not finite; an obstacle
                that comes too near to the circle; a wave shorter than two nodes.
            NotConvergedError: the residual is above rtol.
        """
        wave_number, shape = self._checked(inputs)
        grid = self.grid if self.cells is None else QuadGrid(*self.cells, periodic=True)
        fields = np.empty((len(shape), 2, *self.grid.shape))
        error = np.empty(len(shape))
        for i, (k, a) in enumerate(zip(wave_number, shape, strict=True)):
            equations = self._equations(grid, float(k), a, i)
            data = self._data(equations)
            u = equations.solve(*data)
            error[i] = equations.residual(u, *data)
            if not error[i] <= self.rtol:
                raise NotConvergedError(
                    f"relative residual {error[i]:.1e}, above rtol {self.rtol:.1e}",
                    sample=i,
                )
            parts = np.stack([u.real, u.imag])
            if self.cells is not None:
                parts = grid.interpolate(parts, self.grid)
            fields[i] = parts.reshape(2, *self.grid.shape)
        outputs = {name: fields[:, k] for k, name in enumerate(OUTPUTS)}
        return Solution(outputs, error, "relative residual (dual of H1)")

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - A u| / |b| at all points, dual of H¹."""
        wave_number, shape = self._checked(inputs)
        u = self._complex(outputs)
        check_counts(wave_number=wave_number, scattered=u.real)
        residuals = []
        for i, (k, a, v) in enumerate(zip(wave_number, shape, u, strict=True)):
            equations = self._equations(self.grid, float(k), a, i)
            residuals.append(equations.residual(v.ravel(), *self._data(equations)))
        return np.array(residuals)

    def cheaper(self) -> Sequence[tuple[str, HelmholtzScattering]]:
        """The same on fewer cells, prolonged to the same nodes; dearest first."""
        rungs = []
        for share in (3 / 4, 1 / 2, 3 / 8, 1 / 4):
            grid = self.grid
            cells = (
                max(1, round(share * grid.first)),
                max(4, round(share * grid.second)),
            )
            solver = with_parameters(self, cells=cells)
            rungs.append((f"{cells[0]} x {cells[1]} cells", solver))
        return rungs

    def cross_sections(self, inputs: Fields, outputs: Fields) -> tuple[Array, Array]:
        """Widths of the incident wave that are scattered, and that are taken from it.

        σ_s = 4/k Σ |c_n|²,   σ_e = -4/k Re Σ (-i)^n c_n,   u = Σ c_n H_n(kr) e^{inθ}.
        An obstacle absorbs nothing: the two agree (optical theorem).

        Returns:
            σ_s and σ_e (batch,), in lengths.
        """
        wave_number, _ = self._checked(inputs)
        rim = self._complex(outputs)[:, -1]
        scattered, extinguished = [], []
        for k, u in zip(wave_number, rim, strict=True):
            n, c = outgoing_waves(u, float(k), self.radius)
            scattered.append(4 / k * float((np.abs(c) ** 2).sum()))
            extinguished.append(-4 / k * float(((-1j) ** n * c).sum().real))
        return np.array(scattered), np.array(extinguished)

    def _checked(self, inputs: Fields) -> tuple[Array, Array]:
        wave_number = checked_field(inputs, "wave_number", (), positive=True)
        shape = checked_field(inputs, "shape", (2 * len(MODES),))
        check_counts(wave_number=wave_number, shape=shape)
        return wave_number, shape

    def _complex(self, outputs: Fields) -> Complex:
        parts = [checked_field(outputs, name, self.grid.shape) for name in OUTPUTS]
        check_counts(**dict(zip(OUTPUTS, parts, strict=True)))
        u: Complex = parts[0] + 1j * parts[1]
        return u

    def _place(self, grid: QuadGrid, shape: Array, sample: int) -> Array:
        """Nodes (node, 2): rays from the obstacle to the circle, in equal steps."""
        angles = 2 * np.pi * np.arange(grid.shape[1]) / grid.shape[1]
        inner = obstacle_radius(shape, angles)
        limit = self.radius - _LEAST_GAP
        if not inner.max() <= limit:
            raise OpkitInputError(
                f"shape of sample {sample}: the obstacle reaches r = "
                f"{inner.max():.3g}, the limit is {limit:.3g}: give smaller "
                "coefficients or a larger radius"
            )
        s = np.linspace(0, 1, grid.shape[0])[:, None]
        r = (1 - s) * inner + s * self.radius
        return np.stack([r * np.cos(angles), r * np.sin(angles)], -1).reshape(-1, 2)

    def _equations(
        self, grid: QuadGrid, wave_number: float, shape: Array, sample: int
    ) -> Equations:
        points = self._place(grid, shape, sample)
        longest = 2 * np.pi * self.radius / grid.second
        longest = max(longest, self.radius / grid.first)
        if wave_number * longest > 2 * np.pi:
            raise OpkitInputError(
                f"wave_number {wave_number:.4g} of sample {sample}: its wave has fewer "
                f"than two nodes on {grid.first} x {grid.second} cells (limit "
                f"{2 * np.pi / longest:.3g}): give more points"
            )
        return Equations(grid, points, wave_number)

    def _data(self, equations: Equations) -> tuple[Complex | None, Complex]:
        """Values on the obstacle (None where it is hard), and the load."""
        k = equations.wave_number
        if self.obstacle == "soft":
            x = equations.points[equations.grid.edge("first"), 0]
            nothing = np.zeros(len(equations.points), dtype=np.complex128)
            return -np.exp(1j * k * x), nothing

        def slope(points: Array) -> Complex:
            wave = -1j * k * np.exp(1j * k * points[..., 0])
            return np.stack([wave, np.zeros_like(wave)], axis=-1)

        return None, equations.flux(slope)


def obstacle_radius(shape: Array, angles: Array) -> Array:
    """Radius ρ at angles; shape holds the three cosines, then the three sines."""
    waves = np.outer(angles, MODES)
    cosine, sine = shape[: len(MODES)], shape[len(MODES) :]
    with np.errstate(over="ignore"):  # infinite: refused with its value
        radius: Array = np.exp(np.cos(waves) @ cosine + np.sin(waves) @ sine)
    return radius
