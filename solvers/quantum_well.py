"""Bound states of one particle in one dimension, between two walls.

    -ψ'' + V(x) ψ = E ψ on (0, L), ψ(0) = ψ(L) = 0, ∫ ψ² dx = 1,

from the potential V to the lowest energies E_0 < E_1 < ... and the densities |ψ_n|².
In units ħ² / 2m = 1. Differences of second order, the symmetric tridiagonal matrix by
LAPACK. At a jump of V its mean over the cell around a node keeps the second order.
Accuracy: docs/solvers-quantum-well.md.

Energies that others found are enclosed with a proof. For any E and any vector ψ an
eigenvalue λ of the symmetric matrix H lies within

    |λ - E| <= ‖H ψ - E ψ‖ / ‖ψ‖   (Krylov, Weinstein),

the right side is smallest where ψ = (H - E)⁻¹ ψ, and Sylvester's law of inertia says
how many eigenvalues lie below either end, so which one it is.

References: Griffiths, Introduction to Quantum Mechanics, 2nd ed. 2005, 2.2, 2.3, 2.6
(closed forms); Parlett, The Symmetric Eigenvalue Problem, SIAM, 1998, 4.5 (bound), 3.3
(counts); Chatelin, Spectral Approximation of Linear Operators, 1983.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.linalg import LinAlgError, eigh_tridiagonal, solve_banded

from opkit.base.arrays import Array
from opkit.base.records import Positive, Record
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
)

Kind = Literal["empty", "well", "barrier", "smooth"]
_ROUNDING = 16 * np.finfo(np.float64).eps
"""Of residual and counts, as a part of the norm of the matrix."""
_DOUBLINGS = 60  # of an interval, at most


class Potentials(Record):
    """Law of the potential, one of several kinds with the same probability.

        empty     V = c: the infinite well, its bottom at c, c ~ U(0, h)
        well      V = 0 over a part of length w L, v elsewhere
        barrier   V = v over a part of length w L, 0 elsewhere
        smooth    V(x) = s Σ_{k=1}^{8} ξ_k cos(kπx / L) / k, ξ_k ~ N(0, 1)

    v ~ U(h / 4, h); w is uniform in ``widths``, or in their tenth for a barrier; the
    part lies anywhere with the same probability.

    Args:
        kinds: those that there are.
        height: h, energy.
        widths: least and largest w of a well.
        size: s, energy.
    """

    kinds: tuple[Kind, ...] = ("empty", "well", "barrier", "smooth")
    height: Positive = 200.0
    widths: tuple[float, float] = (0.2, 0.8)
    size: Positive = 40.0

    @model_validator(mode="after")
    def _consistent(self) -> Potentials:
        low, high = self.widths
        if not 0 < low <= high < 1:
            raise ValueError(f"widths {low:g} to {high:g}: give 0 < low <= high < 1")
        if not self.kinds:
            raise ValueError("kinds is empty: name at least one kind of potential")
        return self

    def sample(self, rng: np.random.Generator, points: int, length: float) -> Array:
        """Draw V on an even grid (x,), its mean over the cell around each node."""
        kind = self.kinds[rng.integers(len(self.kinds))]
        part = np.linspace(0.0, 1.0, points)
        if kind == "empty":
            return np.full(points, rng.uniform(0, self.height))
        if kind == "smooth":
            k = np.arange(1, 9)
            waves = np.cos(np.pi * k * part[:, None])
            field: Array = self.size * (waves @ (rng.standard_normal(8) / k))
            return field
        low, high = self.widths
        width = rng.uniform(low, high) * (0.1 if kind == "barrier" else 1.0)
        start = rng.uniform(0, 1 - width)
        height = rng.uniform(self.height / 4, self.height)
        inside = share_inside(points, start, start + width)
        there = inside if kind == "barrier" else 1 - inside
        return np.asarray(height * there)


def share_inside(points: int, start: float, end: float) -> Array:
    """Share of the cell around each node of [0, 1] that lies in an interval (node,)."""
    half = 0.5 / (points - 1)
    nodes = np.linspace(0.0, 1.0, points)
    low, high = (nodes - half).clip(0.0), (nodes + half).clip(None, 1.0)
    inside: Array = (np.minimum(high, end) - np.maximum(low, start)).clip(0.0)
    share: Array = inside / (high - low)
    return share


LAW = Potentials()


@solver_dataclass
class QuantumWell:
    """Solver from the potential to the lowest energies and their densities.

    Args:
        resolution: (N,), N odd and 9 or more, the walls among the nodes.
        states: how many, the ground state among them.
        length: L.
        distribution: law of the potential.
    """

    resolution: tuple[int]
    states: int = Field(default=4, ge=1, le=64)
    length: float = Field(default=1.0, gt=0)
    distribution: Potentials = LAW

    @model_validator(mode="after")
    def _consistent(self) -> QuantumWell:
        (n,) = self.resolution
        if n % 2 == 0 or n < 9:
            raise ValueError(f"resolution {n}: give an odd number, 9 or more")
        if self.states > (n - 3) // 2:
            raise ValueError(
                f"states {self.states}: a grid of {n} nodes has at most {(n - 3) // 2}"
            )
        return self

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Nodes, the walls among them."""
        nodes = np.linspace(0.0, self.length, self.resolution[0])
        return {"x": Coordinate(nodes, long_name="x")}

    def sides(self) -> Sides:
        """The wave function is 0 at the walls."""
        return all_sides("dirichlet", "x")

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``potential`` (x,)."""
        (n,) = self.resolution
        return {"potential": self.distribution.sample(rng, n, self.length)}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``energies`` (batch, state) and ``density_0``, ... (batch, x).

        Raises:
            OpkitInputError: wrong shape, or not finite.
        """
        v = checked_field(inputs, "potential", self.resolution)
        energies = np.zeros((len(v), self.states))
        densities = np.zeros((self.states, *v.shape))
        error = np.zeros(len(v))
        for i, potential in enumerate(v):
            energies[i], states = self._states(potential)
            densities[:, i, 1:-1] = states.T**2
            half = potential[2:-1:2] / 2
            half += (potential[1:-2:2] + potential[3::2]) / 4
            around = np.concatenate([potential[:1], half, potential[-1:]])
            coarse, _ = self._states(around)
            size = np.abs(energies[i]) + self._unit
            error[i] = (np.abs(coarse - energies[i]) / size).max() / 3
        outputs = {f"density_{n}": field for n, field in enumerate(densities)}
        return Solution(
            {"energies": energies, **outputs},
            error,
            "a third of the change of an energy on halving the number of intervals, "
            "relative to the energy and that of the empty well (largest)",
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Solve again; largest change of energies and densities.

        Energies relative to the ground state of the empty well, (π / L)², densities in
        the relative L2 norm.
        """
        solved = self.solve(inputs).outputs
        given = checked_field(outputs, "energies", (self.states,))
        check_counts(potential=np.asarray(solved["energies"], float), energies=given)
        worst: Array = np.abs(given - solved["energies"]).max(1) / self._unit
        for n in range(self.states):
            true = solved[f"density_{n}"]
            density = checked_field(outputs, f"density_{n}", self.resolution)
            check_counts(energies=given, density=density)
            change = np.linalg.norm(density - true, axis=1)
            worst = np.maximum(worst, change / np.linalg.norm(true, axis=1))
        return worst

    def enclosures(
        self, inputs: Fields, outputs: Fields
    ) -> Mapping[str, tuple[Array, Array]]:
        """Prove between which bounds the energies of the difference equations lie.

        Of ``outputs`` the energies are enough. The bound of Krylov and Weinstein is
        that of two steps of inverse iteration; where the counts do not confirm the
        number of the state, the interval is doubled until they do.

        Returns:
            ``energies``: lower and upper bounds (batch, state).

        Raises:
            OpkitInputError: wrong shape, or not finite.
        """
        v = checked_field(inputs, "potential", self.resolution)
        energies = checked_field(outputs, "energies", (self.states,))
        check_counts(potential=v, energies=energies)
        diagonals, off = self._matrix(v)
        slack = _ROUNDING * (np.abs(diagonals).max(1, keepdims=True) + 2 * abs(off))
        radius = slack + np.array(
            [
                [_distance(diagonal, off, energy) for energy in row]
                for diagonal, row in zip(diagonals, energies, strict=True)
            ]
        ).reshape(energies.shape)
        numbers = np.arange(self.states)
        for _ in range(_DOUBLINGS):
            below = count_below(diagonals, off, energies - radius)
            above = count_below(diagonals, off, energies + radius)
            unproved = (below > numbers) | (above <= numbers)
            if not unproved.any():
                break
            radius = np.where(unproved, 2 * radius, radius)
        else:
            radius[unproved] = np.inf
        low, high = energies - radius, energies + radius
        return {"energies": (low, high)}

    @property
    def _unit(self) -> float:
        """Energy of the ground state of the empty well."""
        return float((np.pi / self.length) ** 2)

    def _matrix(self, potential: Array) -> tuple[Array, float]:
        """Diagonals (..., inner node) and the number beside them."""
        h = self.length / (potential.shape[-1] - 1)
        return 2 / h**2 + potential[..., 1:-1], -1 / h**2

    def _states(self, potential: Array) -> tuple[Array, Array]:
        """Energies (state,) and ψ (inner node, state) with h Σ ψ² = 1."""
        diagonal, off = self._matrix(potential)
        energies, vectors = eigh_tridiagonal(
            diagonal,
            np.full(len(diagonal) - 1, off),
            select="i",
            select_range=(0, self.states - 1),
        )
        return energies, vectors * ((len(potential) - 1) / self.length) ** 0.5


def count_below(diagonals: Array, off: float, shifts: Array) -> Array:
    """Count the eigenvalues of symmetric tridiagonal matrices below some numbers.

        q_1 = d_1 - s,  q_i = d_i - s - b² / q_{i-1}:   as many as there are q_i < 0

    by Sylvester's law of inertia, for H - s = L Q Lᵀ.

    Args:
        diagonals: d (batch, node).
        off: b.
        shifts: s (batch, shift).

    Returns:
        (batch, shift), whole numbers.

    Source: Barth, Martin, Wilkinson, Numerische Mathematik 9, 386 (1967).
    """
    smallest = np.finfo(np.float64).tiny
    count = np.zeros(shifts.shape)
    pivot = np.full(shifts.shape, np.inf)
    for d in diagonals.T:
        pivot = d[:, None] - shifts - off**2 / pivot
        pivot = np.where(np.abs(pivot) < smallest, -smallest, pivot)
        count += pivot < 0
    return count


def _distance(diagonal: Array, off: float, energy: float) -> float:
    """Bound the distance to the nearest eigenvalue: ‖H ψ - E ψ‖ of a unit vector."""
    bands = np.full((3, len(diagonal)), off)
    bands[1] = diagonal - energy
    psi = np.random.default_rng(0).standard_normal(len(diagonal))
    for _ in range(2):
        try:
            psi = solve_banded((1, 1), bands, psi)
        except LinAlgError:  # E is an eigenvalue to the last bit
            bands[1] += _ROUNDING * np.abs(diagonal).max()
            psi = solve_banded((1, 1), bands, psi)
        psi /= np.linalg.norm(psi)
    image = (diagonal - energy) * psi
    image[1:] += off * psi[:-1]
    image[:-1] += off * psi[1:]
    return float(np.linalg.norm(image))
