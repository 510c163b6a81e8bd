"""Steady Euler flow by Newton's method with GMRES, on a path of pseudo time steps.

    (V / Δt + ∂R/∂U) ΔU = -R(U),   U ← U + s ΔU,

R: net flux out of the control volumes V; Δt: local, ``cfl`` times V over the sum of the
wave speeds, which grows as the residual falls. Products with ∂R/∂U are differences of
R; the preconditioner is a symmetric Gauss-Seidel sweep over the lines that lead
outwards, on the Jacobian of the first-order scheme. s keeps changes of density and
pressure below a fifth.

Source: Mulder, van Leer, J. Comput. Phys. 59 (1985) 232 (time step from the residual).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import NotConvergedError
from opkit.solvers.euler import kernels

GAMMA = kernels.GAMMA
_LARGEST_CHANGE = 0.2
_KRYLOV = 40
_ACCURACY = 0.1
_CFL, _LEAST_CFL, _LARGEST_CFL = 20.0, 1e-3, 1e8
_STEPS = 400


@dataclass(frozen=True)
class Metrics:
    """Control volumes of one grid of nodes (I, J, 2).

    Args:
        face_i: see `kernels.residual`.
        face_j: see `kernels.residual`.
        wall: see `kernels.residual`.
        outer: see `kernels.residual`.
        volume: (I, J); at the nodes of the wake that of both halves.
        wake: index of the trailing edge.
    """

    face_i: Array
    face_j: Array
    wall: Array
    outer: Array
    volume: Array
    wake: int


def metrics(nodes: Array, wake: int) -> Metrics:
    """Measure the control volumes around nodes (I, J, 2)."""
    I, J = nodes.shape[:2]
    corners = np.empty((I + 1, J + 1, 2))
    # repeating the outermost nodes makes middles of edges, and corners, of the centres
    wide = np.pad(nodes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    corners[:] = (wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]) / 4
    along = corners[1:] - corners[:-1]  # (I, J + 1)
    outwards = corners[:, 1:] - corners[:, :-1]  # (I + 1, J)
    face_i = np.stack([outwards[..., 1], -outwards[..., 0]], axis=-1)
    face_j = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    a = corners[1:, 1:] - corners[:-1, :-1]
    b = corners[:-1, 1:] - corners[1:, :-1]
    volume = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) / 2
    wall = -face_j[:, 0]
    last = I - 1
    for end, towards in ((wake, 1), (last - wake, -1)):
        piece = (nodes[end + towards, 0] - nodes[end, 0]) / 2 * towards
        wall[end] = piece[1], -piece[0]
    wall[:wake] = wall[last - wake + 1 :] = 0.0
    both = volume[: wake + 1, 0] + volume[: last - wake - 1 : -1, 0]
    volume[: wake + 1, 0] = both
    volume[: last - wake - 1 : -1, 0] = both
    parts = (face_i, face_j[:, :-1], wall, face_j[:, -1], volume)
    face_i, face_j, wall, outer, volume = (np.ascontiguousarray(p) for p in parts)
    return Metrics(face_i, face_j, wall, outer, volume, wake)


@dataclass
class Steady:
    """A flow and how it was reached.

    Args:
        state: ρ, ρu, ρv, ρE (I, J, 4).
        residual: (Σ R²/V)^(1/2) over that of the free stream.
        newton_steps: linear systems.
        products: evaluations of R.
    """

    state: Array
    residual: float
    newton_steps: int
    products: int


class Flow:
    """The discrete equations of one sample.

    Args:
        metrics: of its grid.
        free: ρ, u, v, p of the free stream (4,).
    """

    def __init__(self, metrics: Metrics, free: Array) -> None:
        self.metrics, self.free = metrics, free
        shape = metrics.volume.shape
        self._q = np.empty((*shape, 4))
        self._blocks = [np.zeros((*shape, 4, 4)) for _ in range(6)]
        self.products = 0
        self.stream = np.broadcast_to(conserved(free), self._q.shape).copy()
        self._root = np.sqrt(metrics.volume)[..., None]
        self._unit = 1.0
        self._unit = self._size(self.flux(self.stream))

    def residual(self, state: Array) -> float:
        """(Σ R²/V)^(1/2) over that of the free stream; infinite where it is no gas."""
        size = self._size(self.flux(state))
        return size if np.isfinite(size) else float("inf")

    def solve(self, start: Array, rtol: float, steps: int = _STEPS) -> Steady:
        """Solve from a state (I, J, 4).

        Args:
            start: the first state.
            rtol: largest residual.
            steps: at most.

        Raises:
            NotConvergedError: the residual stays above rtol.
        """
        before = self.products
        state, right = start.copy(), self.flux(start)
        size = self._size(right)
        cfl, count = _CFL / min(size, 1.0), 0
        while not size <= rtol:
            if count == steps or cfl < _LEAST_CFL or not np.isfinite(size):
                raise NotConvergedError(
                    f"Euler: the residual stopped at {size:.1e}, above rtol "
                    f"{rtol:.1e}, after {count} steps: a finer grid or a smaller "
                    "deformation may help"
                )
            count += 1
            change, short = self._step(state, right, cfl)
            s = self._length(state, change)
            trial = state + s * change
            flux = self.flux(trial)
            new = self._size(flux)
            if not new < 2 * size:
                cfl *= 0.3
                continue
            # as the residual falls, towards Newton's method
            stuck = s < 0.5 or (short and new > 0.9 * size)
            growth = 0.5 if stuck else min(max(size / new, 1.1), 3.0)
            cfl = min(cfl * growth, _LARGEST_CFL)
            state, right, size = trial, flux, new
        return Steady(state, size, count, self.products - before)

    def _size(self, flux: Array) -> float:
        return float(np.linalg.norm(flux / self._root)) / self._unit

    def flux(self, state: Array) -> Array:
        """Net flux out of each control volume (I, J, 4); NaN where it is no gas."""
        m = self.metrics
        self.products += 1
        least = kernels.primitive(state, self._q)
        out = np.empty_like(state)
        if not least > 0:
            out[:] = np.nan
            return out
        kernels.residual(
            self._q, m.face_i, m.face_j, m.wall, m.outer, self.free, m.wake, out
        )
        return out

    def _step(self, state: Array, right: Array, cfl: float) -> tuple[Array, bool]:
        m = self.metrics
        kernels.primitive(state, self._q)
        rate = np.empty(m.volume.shape)
        kernels.speeds(self._q, m.face_i, m.face_j, m.wall, m.outer, m.wake, rate)
        shift = rate / cfl
        diagonal, west, east, south, north, upper = self._blocks
        diagonal[:] = shift[..., None, None] * np.eye(4)
        last = len(shift) - 1
        diagonal[last - m.wake :, 0] = 0.0
        kernels.blocks(
            self._q,
            m.face_i,
            m.face_j,
            m.wall,
            m.outer,
            m.wake,
            diagonal,
            west,
            east,
            south,
            north,
        )
        kernels.factorise_lines(diagonal, south, north, m.wake, upper)

        def precondition(b: Array) -> Array:
            x = np.empty_like(b)
            kernels.sweep(b, diagonal, upper, north, west, east, m.wake, 2, x)
            return x

        scale = float(np.linalg.norm(state))

        def product(x: Array) -> Array:
            h = 1e-7 * scale / float(np.linalg.norm(x))
            y = (self.flux(state + h * x) - right) / h
            pseudo = shift[..., None] * x
            pseudo[last - m.wake :, 0] = 0.0
            return y + pseudo

        return gmres(product, precondition, -right, _ACCURACY, _KRYLOV)

    def _length(self, state: Array, change: Array) -> float:
        before = self._q.copy()
        low = np.inf
        s = 1.0
        for _ in range(12):
            low = kernels.primitive(state + s * change, self._q)
            if low > 0:
                ratio = np.abs(self._q[..., (0, 3)] / before[..., (0, 3)] - 1).max()
                if ratio <= _LARGEST_CHANGE:
                    return s
                s *= max(0.3, min(0.9, _LARGEST_CHANGE / ratio))
            else:
                s *= 0.3
        return s


Map = Callable[[Array], Array]


def gmres(
    product: Map, precondition: Map, b: Array, accuracy: float, most: int
) -> tuple[Array, bool]:
    """Right-preconditioned GMRES: M⁻¹ (A M⁻¹)⁻¹ b, and whether it fell short."""
    beta = float(np.linalg.norm(b))
    basis = [b / beta]
    images: list[Array] = []
    h = np.zeros((most + 1, most))
    cs, sn, g = np.zeros(most), np.zeros(most), np.zeros(most + 1)
    g[0] = beta
    k = 0
    for k in range(most):
        z = precondition(basis[k])
        images.append(z)
        w = product(z)
        for i, v in enumerate(basis):
            h[i, k] = float(np.vdot(w, v))
            w -= h[i, k] * v
        h[k + 1, k] = float(np.linalg.norm(w))
        basis.append(w / h[k + 1, k])
        for i in range(k):
            a, c = h[i, k], h[i + 1, k]
            h[i, k], h[i + 1, k] = cs[i] * a + sn[i] * c, cs[i] * c - sn[i] * a
        r = float(np.hypot(h[k, k], h[k + 1, k]))
        cs[k], sn[k] = h[k, k] / r, h[k + 1, k] / r
        h[k, k], h[k + 1, k] = r, 0.0
        g[k + 1] = -sn[k] * g[k]
        g[k] *= cs[k]
        if abs(g[k + 1]) <= accuracy * beta:
            break
    n = k + 1
    y = np.linalg.solve(np.triu(h[:n, :n]), g[:n])
    solution: Array = np.tensordot(y, np.stack(images[:n]), axes=1)
    return solution, bool(abs(g[n]) > accuracy * beta)


def conserved(q: Array) -> Array:
    """ρ, ρu, ρv, ρE of ρ, u, v, p (..., 4)."""
    rho, u, v, p = np.moveaxis(np.asarray(q), -1, 0)
    energy = p / (GAMMA - 1) + 0.5 * rho * (u * u + v * v)
    return np.stack([rho, rho * u, rho * v, energy], axis=-1)


def primitive(state: Array) -> Array:
    """ρ, u, v, p of ρ, ρu, ρv, ρE (..., 4)."""
    rho, mu, mv, energy = np.moveaxis(state, -1, 0)
    u, v = mu / rho, mv / rho
    p = (GAMMA - 1) * (energy - 0.5 * rho * (u * u + v * v))
    return np.stack([rho, u, v, p], axis=-1)
