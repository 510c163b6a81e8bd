"""Parabolic and hyperbolic problems: spectral elements in x, Radau IIA in y, the time.

On elements of degree four, the mass lumped at Gauss-Lobatto nodes, and with v = u_y,

    c_2 u' = f - c_0 u - c_1 u_x - c_3 u_xx
    u' = v,  c_4 v' = f - c_2 v - c_0 u - c_1 u_x - c_3 u_xx

is a system y' = B y + b(t). Its matrix is constant, so each step length is factorised
once. Radau IIA with three stages (Hairer & Wanner, Solving ODEs II, IV.5) is of fifth
order, as is the space; it damps what is too stiff to follow, so data that do not match
at the corners do no harm; and its stages lie at the end of a step too, so that
conditions on left and right hold there exactly. Between steps the solution is the
polynomial through the stages, of fourth order. A space-time mesh of triangles would
need a stabilised form, and would couple all times in one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from opkit.base.arrays import Array
from opkit.pde.problem import LinearProblem
from opkit.solvers.linear_pde.finite_elements import finite

DEGREE = 4
SHORTEST = 6
"""The first step of parabolic problems is cut into halves of halves, so often."""

_NODES = np.array([-1.0, -np.sqrt(3 / 7), 0.0, np.sqrt(3 / 7), 1.0])
_WEIGHTS = np.array([1 / 10, 49 / 90, 32 / 45, 49 / 90, 1 / 10])
_ROOT = np.sqrt(6.0)
_TIMES = np.array([(4 - _ROOT) / 10, (4 + _ROOT) / 10, 1.0])
_STAGES = np.array(
    [
        [(88 - 7 * _ROOT) / 360, (296 - 169 * _ROOT) / 1800, (-2 + 3 * _ROOT) / 225],
        [(296 + 169 * _ROOT) / 1800, (88 + 7 * _ROOT) / 360, (-2 - 3 * _ROOT) / 225],
        [(16 - _ROOT) / 36, (16 + _ROOT) / 36, 1 / 9],
    ]
)


def _lagrange(nodes: Array) -> Array:
    """Coefficients (power, node) of the polynomials that are 1 at one node."""
    return np.asarray(np.linalg.inv(np.vander(nodes, increasing=True)))


_IN_X = _lagrange(_NODES)
_IN_Y = _lagrange(np.concatenate([[0.0], _TIMES]))
_POWERS = np.arange(DEGREE + 1)


def _basis(coefficients: Array, at: Array, derivative: int = 0) -> Array:
    """Values (point, node) of Lagrange polynomials or a derivative of them."""
    count = len(coefficients)
    powers = np.zeros((len(at), count))
    for k in range(derivative, count):
        factor = np.prod(np.arange(k - derivative + 1, k + 1))
        powers[:, k] = factor * at ** (k - derivative)
    return np.asarray(powers @ coefficients)


@dataclass(frozen=True)
class SpaceTimeField:
    """A polynomial of degree four in x and three in y on every element of every step.

    Args:
        x: ends of elements.
        y: ends of steps.
        u: (step, 4, node), at the start of the step and at its stages.
        u_y: the same of u_y for hyperbolic problems, None for parabolic ones.
        source_norm: root mean square of f where the scheme sampled it.
    """

    x: Array
    y: Array
    u: Array
    u_y: Array | None
    source_norm: float

    def values(self, x: Array, y: Array) -> Array:
        """U at points (point,) of the square."""
        return self._at(self.u, x, y, 0, 0)

    def jet(self, x: Array, y: Array) -> Array:
        """(u, u_x, u_y, u_xx, u_yy) at points (point,): (5, point).

        u has fourth order, each derivative one less; of hyperbolic problems, u_y has
        fourth order and u_yy third.
        """
        if self.u_y is None:
            along = (self._at(self.u, x, y, 0, 1), self._at(self.u, x, y, 0, 2))
        else:
            along = (self._at(self.u_y, x, y, 0, 0), self._at(self.u_y, x, y, 0, 1))
        return np.stack(
            [
                self._at(self.u, x, y, 0, 0),
                self._at(self.u, x, y, 1, 0),
                along[0],
                self._at(self.u, x, y, 2, 0),
                along[1],
            ]
        )

    def _at(self, nodal: Array, x: Array, y: Array, in_x: int, in_y: int) -> Array:
        element = np.clip(np.searchsorted(self.x, x, "right") - 1, 0, len(self.x) - 2)
        step = np.clip(np.searchsorted(self.y, y, "right") - 1, 0, len(self.y) - 2)
        width = self.x[element + 1] - self.x[element]
        height = self.y[step + 1] - self.y[step]
        across = _basis(_IN_X, 2 * (x - self.x[element]) / width - 1, in_x)
        across *= ((2 / width) ** in_x)[:, None]
        along = _basis(_IN_Y, (y - self.y[step]) / height, in_y)
        along *= ((1 / height) ** in_y)[:, None]
        nodes = DEGREE * element[:, None] + _POWERS
        local = nodal[step[:, None, None], np.arange(4)[:, None], nodes[:, None, :]]
        return np.asarray(np.einsum("pij,pi,pj->p", local, along, across))


def march(problem: LinearProblem, cells: float) -> SpaceTimeField:
    """Solve a parabolic or hyperbolic problem from y = -1 to 1.

    Args:
        problem: with u, and u_n in hyperbolic ones, at the bottom; u or u_n left and
            right.
        cells: two for each element; as many steps, and more where waves are faster
            than 1.

    Raises:
        NonFiniteError: source or boundary data are not finite somewhere.
    """
    c = problem.linear.coefficients
    waves = c[4] != 0
    elements = max(round(cells / 2), 2)
    speed = max(1.0, np.sqrt(abs(c[3] / c[4]))) if waves else 1.0
    ends = np.linspace(-1, 1, elements + 1)
    times = np.linspace(-1, 1, round(cells * min(speed, 16.0)) + 1)
    if not waves:
        first = times[1] - times[0]
        times = np.concatenate(
            [[-1.0], -1 + first * 0.5 ** np.arange(SHORTEST, 0, -1), times[1:]]
        )
    operator, mass, x = _space(c, ends)
    system, conditions = _System(problem, x, mass, operator), problem.conditions()
    y = np.zeros((2, len(x)) if waves else (1, len(x)))
    for kind, formula in conditions["bottom"]:
        row, sign = (0, 1.0) if kind == "u" else (1, -1.0)  # outwards is backwards
        y[row] = sign * finite(formula(x, -np.ones_like(x), np), f"{kind} on bottom")
    stages = times[:-1, None] + np.diff(times)[:, None] * _TIMES
    load, end_values = system.data(stages)
    nodal = np.empty((len(stages), 4, y.size))
    state, factors, length = y.ravel(), None, 0.0
    for k, step in enumerate(np.diff(times)):
        if factors is None or abs(step - length) > 1e-12:
            factors, length = system.factorise(step), step
        right = np.tile(state, (3, 1)) + step * (_STAGES @ load[k])
        right[:, system.algebraic] = end_values[k]
        stages_of_step = factors.solve(right.ravel()).reshape(3, -1)
        nodal[k, 0], nodal[k, 1:] = state, stages_of_step
        state = stages_of_step[-1]
    weights = np.diff(times)[:, None, None] * mass / 3
    norm = float(np.sqrt((system.source(stages) ** 2 * weights).sum() / 4))
    count = len(x)
    slopes = nodal[..., count:] if waves else None
    return SpaceTimeField(ends, times, nodal[..., :count], slopes, norm)


def _space(c: tuple[float, ...], ends: Array) -> tuple[sparse.csr_matrix, Array, Array]:
    """c_0 u + c_1 u_x + c_3 u_xx without end fluxes, lumped mass (node,), nodes."""
    elements = len(ends) - 1
    half = (ends[1] - ends[0]) / 2
    count = DEGREE * elements + 1
    slope = _basis(_IN_X, _NODES, 1)
    stiff = slope.T @ (_WEIGHTS[:, None] * slope) / half
    local = c[1] * _WEIGHTS[:, None] * slope - c[3] * stiff
    nodes = DEGREE * np.arange(elements)[:, None] + _POWERS
    mass = np.zeros(count)
    np.add.at(mass, nodes, np.tile(half * _WEIGHTS, (elements, 1)))
    rows = np.repeat(nodes, DEGREE + 1, axis=1).ravel()
    columns = np.tile(nodes, DEGREE + 1).ravel()
    entries = np.tile(local.ravel(), elements)
    weak = sparse.csr_matrix((entries, (rows, columns)), (count, count))
    strong = sparse.diags(1 / mass) @ weak + c[0] * sparse.identity(count)
    x = np.zeros(count)
    x[nodes] = ends[:-1, None] + half * (_NODES + 1)
    return strong.tocsr(), mass, x


class _System:
    """y' = B y + b, with rows replaced by what is given at the ends."""

    def __init__(
        self,
        problem: LinearProblem,
        x: Array,
        mass: Array,
        operator: sparse.csr_matrix,
    ) -> None:
        self.problem, self.x, self.mass = problem, x, mass
        c = problem.linear.coefficients
        count = len(x)
        self.waves = c[4] != 0
        self.leading = c[4] if self.waves else c[2]
        ends = (("left", 0), ("right", count - 1))
        conditions = problem.conditions()
        at_ends = [(part, node, *conditions[part][0]) for part, node in ends]
        self.fixed = [entry for entry in at_ends if entry[2] == "u"]
        self.fluxes = [entry for entry in at_ends if entry[2] == "u_n"]
        self.places = [node for _, node, _, _ in self.fixed]
        shift = count if self.waves else 0
        self.algebraic = [node + shift for node in self.places]
        slopes = -operator / self.leading
        if self.waves:
            one = sparse.identity(count)
            damped = -c[2] / c[4] * one
            slopes = sparse.bmat([[None, one], [slopes, damped]])
        self.slopes = slopes.tocsr()

    def source(self, times: Array) -> Array:
        """F (step, stage, node) at times (step, stage)."""
        t = times[..., None]
        x, t = np.broadcast_arrays(self.x, t)
        return finite(self.problem.linear.source(x, t, np), "the source")

    def data(self, times: Array) -> tuple[Array, Array]:
        """B (step, stage, row), and what is given at the ends (step, stage, end)."""
        load = self.source(times).copy()
        for part, node, _, formula in self.fluxes:
            place = np.full_like(times, self.x[node])
            flux = finite(formula(place, times, np), f"u_n on {part}")
            c_xx = self.problem.linear.coefficients[3]
            load[..., node] -= c_xx * flux / self.mass[node]
        load /= self.leading
        if self.waves:
            load = np.concatenate([np.zeros_like(load), load], -1)
        end_values = np.empty((*times.shape, len(self.fixed)))
        for k, (part, node, _, formula) in enumerate(self.fixed):
            place = np.full_like(times, self.x[node])
            end_values[..., k] = finite(formula(place, times, np), f"u on {part}")
        return load, end_values

    def factorise(self, step: float) -> SuperLU:
        """L U of I - step A ⊗ B, with the replaced rows."""
        size = self.slopes.shape[0]
        matrix = sparse.identity(3 * size) - step * sparse.kron(_STAGES, self.slopes)
        keep = np.ones(size)
        keep[self.algebraic] = 0
        fixed = sparse.csr_matrix(
            (np.ones(len(self.places)), (self.algebraic, self.places)), (size, size)
        )
        matrix = sparse.diags(np.tile(keep, 3)) @ matrix
        matrix += sparse.kron(sparse.identity(3), fixed)
        return splu(matrix.tocsc())
