"""Reference solutions with an estimate of their error.

A problem is solved on meshes (or steps) of 16, 24, 36, ... cells along the square
until the estimate reaches a tolerance: with d_1 and d_2 the last two differences of
successive solutions, the error of the finest is taken as

    d_2 · max(1, 1 / (d_1 / d_2 - 1)) + r / σ + |u - g| on the boundary

which is at least 2.4 times what third order leaves, and also holds where corners or
incompatible data cost the method its order. r is what round-off leaves of the discrete
equations, σ the least singular value of the operator (`spectrum`). A source that is
narrower than the finest cells is noticed by its norm on a much finer grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, maximum_filter

from opkit.base.arrays import Array
from opkit.errors import SolverError
from opkit.pde import SIDES
from opkit.pde.classes import CLASSES, classify
from opkit.pde.problem import LinearProblem
from opkit.solvers.fem.simplex_mesh import MeshError
from opkit.solvers.linear_pde.curved_mesh import hole_depth
from opkit.solvers.linear_pde.finite_elements import PlanarField, discretise
from opkit.solvers.linear_pde.spectrum import EigenvalueError, Spectrum, spectrum
from opkit.solvers.linear_pde.time_steps import march

NODES = 65
"""Along x and y, of the grid on which solutions are compared."""
LEVELS = (16, 24, 36, 54, 81, 122)
STEPS = (*LEVELS, 183, 274, 411)
"""The same where y is time, which is cheap."""
RESOLVED = 0.02
"""Largest relative difference of the norms of f on the mesh and on a fine grid."""
RESONANT = 1e-6
"""Relative distance of an eigenvalue from which on finer cells may tell it from 0."""
COUNTED = 54
"""Cells up to which the spectrum is always taken; beyond, only while it moves."""


class Field(Protocol):
    """A discrete solution as a function."""

    def values(self, x: Array, y: Array) -> Array:
        """U at points (point,) of the domain."""
        ...

    def jet(self, x: Array, y: Array) -> Array:
        """(u, u_x, u_y, u_xx, u_yy) at points: (5, point)."""
        ...


@dataclass(frozen=True)
class Reference:
    """A solution that knows how far off it may be.

    Args:
        problem: what was solved.
        field: the finest discrete solution.
        cells: along the square, of that.
        error_estimate: of u in the maximum norm, on the grid of `NODES`.
        error_rms: the same, root mean square.
        largest: max |u|.
        errors: local estimates (y, x) on the grid, NaN outside the domain.
        spectrum: of elliptic operators, None for others.
    """

    problem: LinearProblem
    field: Field
    cells: int
    error_estimate: float
    error_rms: float
    largest: float
    errors: Array
    spectrum: Spectrum | None

    @property
    def eigenvalue_distance(self) -> float | None:
        """Relative distance of the operator from one without inverse (`Spectrum`)."""
        if self.spectrum is None:
            return None
        return self.spectrum.distance(self.problem.linear.coefficients[0])

    def jet(self, x: Array, y: Array) -> Array:
        """(u, u_x, u_y, u_xx, u_yy) at points (point,): (5, point), NaN outside."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        inside = inside_of(self.problem, x, y)
        jet = np.full((5, len(x)), np.nan)
        if inside.any():
            jet[:, inside] = self.field.jet(x[inside], y[inside])
        return jet

    def values(self, x: Array, y: Array) -> Array:
        """U at points (point,), NaN outside."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        inside = inside_of(self.problem, x, y)
        values = np.full(len(x), np.nan)
        if inside.any():
            values[inside] = self.field.values(x[inside], y[inside])
        return values

    def error_at(self, x: Array, y: Array) -> Array:
        """Estimated error at points (point,): the largest within 0.1, NaN outside.

        It is at least the median over the domain.
        """
        place = [
            np.clip(np.rint((np.asarray(v) + 1) * (NODES - 1) / 2), 0, NODES - 1)
            for v in (y, x)
        ]
        spread = self._spread[place[0].astype(int), place[1].astype(int)]
        error = np.maximum(spread, float(np.nanmedian(self.errors)))
        return np.where(inside_of(self.problem, x, y), error, np.nan)

    @cached_property
    def _spread(self) -> Array:
        filled = np.nan_to_num(self.errors)
        return np.asarray(maximum_filter(filled, size=7, mode="nearest"))


@dataclass(frozen=True)
class _Level:
    field: Field
    cells: int
    values: Array
    boundary: float
    round_off: float
    source_norm: float
    spectrum: tuple[Spectrum, int] | None


def refer(
    problem: LinearProblem, tolerance: float = 1e-4, largest: int | None = None
) -> Reference:
    """Solve a problem and estimate the error.

    Args:
        problem: of any class.
        tolerance: of the estimate, relative to max |u|; where it is not reached, the
            finest solution is returned with its estimate.
        largest: number of cells along the square that is not exceeded; at least three
            levels are solved.

    Raises:
        EigenvalueError: the operator has an eigenvalue at 0, to the accuracy reached.
        MeshError: the domain cannot be meshed.
        NonFiniteError: source or boundary data are not finite somewhere.
        SolverError: the discrete solutions are not finite.
    """
    ladder = _ladder(problem)
    most = ladder[-1] if largest is None else max(largest, ladder[2])
    x, y, inside = grid(problem)
    norm = _fine_source_norm(problem)
    levels: list[_Level] = []
    fault: MeshError | None = None
    for cells in ladder:
        if cells > most:
            break
        try:
            counted = _elliptic(problem) and (cells <= COUNTED or not _settled(levels))
            levels.append(_solve(problem, cells, x[inside], y[inside], counted))
        except MeshError as error:  # too coarse for small holes
            fault = error
            continue
        if len(levels) > 2:
            answer = _judge(problem, levels, norm, inside)
            if _settled(levels) and answer.error_estimate <= tolerance * answer.largest:
                break
    if len(levels) < 3:
        raise fault or MeshError("too few cells: allow more")
    answer = _judge(problem, levels, norm, inside)
    _refuse_eigenvalues(problem, levels)
    return answer


def reference(
    problem: LinearProblem, cells: int, x: Array, y: Array
) -> tuple[Array, float]:
    """Solve on two meshes and compare.

    Args:
        problem: of any class.
        cells: elements along the square's side on the coarser mesh; the finer one has
            half as many again.
        x: where the solution is wanted, (point,), in the domain.
        y: the same.

    Returns:
        u of the finer mesh (point,), and its largest distance from the coarser one:
        the third order of the method makes its own error about 0.4 of that.
    """
    coarse, fine = (solve_once(problem, n).values(x, y) for n in (cells, 1.5 * cells))
    return fine, float(np.abs(fine - coarse).max())


def solve_once(problem: LinearProblem, cells: float) -> Field:
    """Solve on one mesh, or with one number of steps, without any estimate.

    Raises:
        SolverError: the operator has no inverse on this mesh.
    """
    if classify(problem.linear.coefficients) != CLASSES[0]:
        return march(problem, cells)
    discrete = discretise(problem, cells)
    try:
        return PlanarField(discrete.mesh, discrete.solve()[0])
    except RuntimeError:
        raise SolverError(
            f"{problem.equation!r} has no inverse on {cells:g} cells: the coefficient "
            "of u is at an eigenvalue"
        ) from None


def grid(problem: LinearProblem) -> tuple[Array, Array, NDArray[np.bool_]]:
    """X and y (point,) of the comparison's grid, and which points lie in the domain."""
    axis = np.linspace(-1, 1, NODES)
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    return x, y, inside_of(problem, x, y)


def inside_of(problem: LinearProblem, x: Array, y: Array) -> NDArray[np.bool_]:
    """Whether points (point,) lie in the domain or on its boundary."""
    points = np.stack([np.asarray(x, float), np.asarray(y, float)], 1)
    within = np.abs(points).max(1, initial=0.0) <= 1
    return np.asarray(within & (hole_depth(problem, points) <= 1e-9))


def _solve(
    problem: LinearProblem, cells: int, x: Array, y: Array, counted: bool
) -> _Level:
    field: Field
    spectrum_here, round_off = None, 0.0
    if classify(problem.linear.coefficients) == CLASSES[0]:
        discrete = discretise(problem, cells)
        try:
            nodal, round_off = discrete.solve()
            if counted and not discrete.fixed.all():
                parts = (discrete.free_matrix, discrete.free_mass, discrete.factors)
                spectrum_here = spectrum(*parts), cells
        except RuntimeError:  # exactly singular
            nodal, spectrum_here = discrete.values, (Spectrum(0.0, 0.0), cells)
        field, norm = PlanarField(discrete.mesh, nodal), discrete.source_norm
    else:
        marched = march(problem, cells)
        field, norm = marched, marched.source_norm
    values = field.values(x, y)
    if not np.isfinite(values).all():
        raise SolverError(
            "the discrete solution is not finite: it grows beyond all numbers, or the "
            "coefficients do"
        )
    off = _boundary_error(problem, field, 3 / cells)
    return _Level(field, cells, values, off, round_off, norm, spectrum_here)


def _boundary_error(problem: LinearProblem, field: Field, corner: float) -> float:
    """Largest |u - g| on sides where u is given, away from where they end."""
    s = np.linspace(-1, 1, 2001)
    one = np.ones_like(s)
    places = dict(zip(SIDES, ((-one, s), (one, s), (s, -one), (s, one)), strict=True))
    worst = 0.0
    for part, conditions in problem.conditions().items():
        for kind, formula in conditions:
            if kind == "u" and part in places:
                x, y = places[part]
                shown = inside_of(problem, x, y)
                shown[[0, -1]] = False
                width = int(np.ceil(1000 * corner))
                shown = binary_erosion(shown, np.ones(2 * width + 1))
                x, y = x[shown], y[shown]
                if len(x):
                    off = field.values(x, y) - formula(x, y, np)
                    worst = max(worst, float(np.abs(off).max()))
    return worst


def _fine_source_norm(problem: LinearProblem) -> float:
    """Root mean square of f over the domain, on a fine grid."""
    n = 601
    axis = (np.arange(n) + 0.5) * (2 / n) - 1
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    if problem.holes:
        inside = hole_depth(problem, np.stack([x, y], 1)) < 0
        x, y = x[inside], y[inside]
    values = problem.linear.source(x, y, np)
    return float(np.sqrt(np.mean(values**2)))


def _judge(
    problem: LinearProblem,
    levels: list[_Level],
    norm: float,
    inside: NDArray[np.bool_],
) -> Reference:
    last = levels[-1]
    before, now = (
        np.abs(fine.values - coarse.values)
        for coarse, fine in ((levels[-3], levels[-2]), (levels[-2], last))
    )
    largest = float(np.abs(last.values).max())
    off = abs(last.source_norm - norm) / norm if norm else 0.0
    spectra = [level.spectrum[0] for level in levels if level.spectrum is not None]
    c = problem.linear.coefficients
    # |u| per |f|; in time, what f adds to u from y = -1 to 1.
    least = max(spectra[-1].singular, 1e-300) if spectra else abs(c[4] or c[2]) / 2
    inverse = 1 / least
    extra = last.boundary + last.round_off * inverse
    if off > RESOLVED:
        extra += off * max(largest, norm * inverse)
    mean = [float(np.sqrt(np.mean(d**2))) for d in (before, now)]
    gain = mean[0] / mean[1] if mean[1] else np.inf
    rms = _factor(gain) * mean[1] + extra
    # Single points come and go by less regular steps than the mean.
    peak = before.max() / now.max() if now.max() else np.inf
    local = _factor(max(peak, np.sqrt(gain))) * now + extra
    errors = np.full(NODES * NODES, np.nan)
    errors[inside] = local
    top = float(local.max())
    return Reference(
        problem,
        last.field,
        last.cells,
        top,
        min(rms, top),
        largest,
        errors.reshape(NODES, NODES),
        spectra[-1] if spectra else None,
    )


def _factor(gain: float) -> float:
    """What to multiply the last difference by, from 1 to 7, where it fell by a gain."""
    return float(np.clip(1 / max(gain - 1, 1 / 7), 1.0, 7.0))


def _last_spectra(levels: list[_Level]) -> list[tuple[Spectrum, int]]:
    return [level.spectrum for level in levels if level.spectrum is not None][-2:]


def _settled(levels: list[_Level]) -> bool:
    """Whether the eigenvalue next to 0 is known to a tenth of itself."""
    spectra = _last_spectra(levels)
    if len(spectra) < 2:
        return not spectra
    (before, _), (last, _) = spectra
    return abs(last.eigenvalue - before.eigenvalue) <= 0.1 * abs(last.eigenvalue)


def most_cells(problem: LinearProblem) -> int:
    """Return the most cells along a side that a problem is solved on."""
    return _ladder(problem)[-1]


def _ladder(problem: LinearProblem) -> tuple[int, ...]:
    return LEVELS if _elliptic(problem) else STEPS


def _elliptic(problem: LinearProblem) -> bool:
    return classify(problem.linear.coefficients) == CLASSES[0]


def _refuse_eigenvalues(problem: LinearProblem, levels: list[_Level]) -> None:
    spectra = _last_spectra(levels)
    if len(spectra) < 2:
        return
    (before, _), (last, cells) = spectra
    if abs(last.eigenvalue - before.eigenvalue) <= 0.5 * abs(last.eigenvalue):
        return
    c_0 = problem.linear.coefficients[0]
    coarse = cells < LEVELS[-1] and last.distance(c_0) > RESONANT
    finer = f", or allow {LEVELS[-1]} cells" if coarse else ""
    raise EigenvalueError(
        f"{problem.equation!r} has no unique solution: its operator with homogeneous "
        f"conditions has an eigenvalue of size {abs(last.eigenvalue):.0e}, which is 0 "
        f"to the accuracy of {cells} cells (relative distance "
        f"{last.distance(c_0):.0e}): move the coefficient of u away from "
        f"{c_0 - last.eigenvalue.real:.6g}{finer}"
    )
