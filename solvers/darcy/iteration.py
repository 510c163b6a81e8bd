"""Solve one sample of the Darcy equations to a guaranteed residual.

The method is preconditioned conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import require
from opkit.solvers.darcy.five_point import (
    Faces,
    SineLaplacian,
    System,
    assemble,
    sine_laplacian,
)

Preconditioner = Literal["auto", "sine", "multigrid"]

RESTARTS = 4


def choose(permeability: Array) -> Literal["sine", "multigrid"]:
    """Pick the preconditioner that is faster for one sample (ny, nx).

    ``sine`` for contrasts up to 100 on fewer than 64² nodes, where its setup is
    cheaper; for steps along x and y that differ by more than a factor of two, which
    point smoothers do not like; and where Numba is not installed. It converges for
    every contrast, in up to a thousand iterations at 10⁴. Else ``multigrid``, in about
    ten.
    """
    ny, nx = permeability.shape
    easy = permeability.size < 64**2 and permeability.max() <= 100 * permeability.min()
    stretched = max(ny - 1, nx - 1) > 2 * min(ny - 1, nx - 1)
    if easy or stretched or find_spec("numba") is None:
        return "sine"
    return "multigrid"


def solve_one(
    permeability: Array,
    forcing: Array,
    guess: Array,
    faces: Faces = "harmonic",
    rtol: float = 1e-8,
    max_iterations: int = 5000,
    preconditioner: Preconditioner = "auto",
) -> tuple[Array, int, float]:
    """Solve -∇·(a ∇p) = f, zero Dirichlet, by preconditioned conjugate gradients.

    Args:
        permeability: a (ny, nx) > 0 on the nodes.
        forcing: f (ny - 2, nx - 2) on interior nodes.
        guess: a first p (ny - 2, nx - 2); one with a larger residual than p = 0 is
            dropped.
        faces: the mean on faces between nodes.
        rtol: relative residual to reach, in the H⁻¹ norm.
        max_iterations: at most so many.
        preconditioner: see `choose` for ``auto``.

    Returns:
        p (ny - 2, nx - 2), iterations, and the relative residual in the H⁻¹ norm,
        computed from p itself; the caller compares it with rtol.

    Raises:
        MissingExtraError: ``multigrid`` was asked for and Numba is not installed.
    """
    laplacian = sine_laplacian(permeability.shape)
    # With the largest permeability 1, A <= L: every intermediate number is in range,
    # and the H⁻¹ norm of a residual is at most its energy norm.
    unit = float(permeability.max())
    system = assemble(permeability / unit, faces)
    name = choose(permeability) if preconditioner == "auto" else preconditioner
    apply, precondition = _maps(name, system, laplacian)
    scale = laplacian.norm(forcing) or 1.0
    p, iterations = guess * unit, 0
    residual, error = forcing.copy(), 1.0
    if p.any():
        residual -= system.apply(p)
        error = laplacian.norm(residual) / scale
        if not error < 1:
            p, residual, error = np.zeros_like(p), forcing.copy(), 1.0
    # The recurrence's residual drifts from b - A p in round-off: look, and restart.
    for _ in range(RESTARTS):
        if error <= rtol or iterations >= max_iterations:
            break
        p, count = conjugate_gradients(
            apply,
            precondition,
            p,
            residual,
            0.9 * rtol * scale,
            max_iterations - iterations,
        )
        iterations += count
        residual = forcing - system.apply(p)
        error = laplacian.norm(residual) / scale
    return p / unit, iterations, error


def _maps(name: str, system: System, laplacian: SineLaplacian) -> tuple[Map, Map]:
    if name == "sine":
        return system.apply, laplacian.solve
    require("numba", "fast")
    from opkit.solvers.darcy.multigrid import Multigrid

    multigrid = Multigrid(system)
    return multigrid.apply, multigrid.solve


def relative_residual(
    permeability: Array, forcing: Array, pressure: Array, faces: Faces
) -> float:
    """|f - A p| / |f| in the discrete H⁻¹ norm, for one sample's (ny, nx) fields."""
    laplacian = sine_laplacian(permeability.shape)
    image = assemble(permeability, faces).apply(pressure[1:-1, 1:-1])
    return float(laplacian.norm(forcing - image) / laplacian.norm(forcing))


Map = Callable[[Array], Array]


def conjugate_gradients(
    apply: Map,
    precondition: Map,
    p: Array,
    residual: Array,
    target: float,
    max_iterations: int,
) -> tuple[Array, int]:
    """Improve p until √(rᵀ M⁻¹ r) <= target, r = b - A p.

    Args:
        apply: p -> A p, symmetric positive definite.
        precondition: r -> M⁻¹ r, symmetric positive definite.
        p: first guess; not changed.
        residual: b - A p of the first guess; overwritten by the recurrence.
        target: absolute, in the norm that M⁻¹ defines.
        max_iterations: stop there in any case.

    Returns:
        The improved p and the number of iterations.
    """
    z = precondition(residual)
    rz = float(np.vdot(residual, z))
    p, direction = p.copy(), z
    for iteration in range(max_iterations):
        if not rz > target**2:
            return p, iteration
        image = apply(direction)
        step = rz / float(np.vdot(direction, image))
        p += step * direction
        image *= step
        residual -= image
        z = precondition(residual)
        rz, previous = float(np.vdot(residual, z)), rz
        direction *= rz / previous
        direction += z
    return p, max_iterations
