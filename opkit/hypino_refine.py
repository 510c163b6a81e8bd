"""Refinement and fine-tuning of solutions that HyPINO wrote.

A solution is a sum of target networks. The problem is linear, so what is left of it,

    f - L u,   g - u,   h - ∇u · n,

is a problem of the same kind: HyPINO solves it, and the correction is added with the
factor that makes the residual smallest, which therefore never grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opkit import jets
from opkit.operators.hypino import HyPINO
from opkit.operators.hypino_target import Target
from opkit.problems import Problems
from opkit.solvers.manufactured_geometry import Geometry
from opkit.solvers.manufactured_raster import (
    Functions,
    assemble,
    boundary_grids,
    pixels,
)


@dataclass(frozen=True)
class Ensemble:
    """u = Σ scale_k · network_k.

    Args:
        members: target networks of batch 1.
        scales: one factor a member.
    """

    members: tuple[Target, ...]
    scales: tuple[float, ...]

    def jet(self, points: Tensor) -> Tensor:
        """Jets (5, batch, point) at points (batch, point, 2)."""
        total = points.new_zeros(5, *points.shape[:2])
        for member, scale in zip(self.members, self.scales, strict=True):
            total = total + scale * member.jet(points)
        return total

    def value(self, points: Tensor) -> Tensor:
        """Values (batch, point)."""
        total = points.new_zeros(points.shape[:2])
        for member, scale in zip(self.members, self.scales, strict=True):
            total = total + scale * member.value(points)
        return total


@dataclass(frozen=True)
class Stated:
    """A problem of batch 1 with everything that is needed to judge a solution.

    Args:
        coefficients: (1, 5).
        geometry: with conditions.
        functions: source and boundary data.
        check: grid points of the domain and boundary points, fixed, for the residual.
    """

    coefficients: Tensor
    geometry: Geometry
    functions: Functions
    check: Problems


def state(coefficients: Tensor, geometry: Geometry, functions: Functions) -> Stated:
    """Prepare a problem: normalise its operator, draw the points of its residual.

    Coefficients and source are divided by the largest |coefficient| where that lies
    outside 0.5 … 2, the range of training.
    """
    largest = float(coefficients.abs().max())
    if not 0.5 <= largest <= 2:
        original, coefficients = functions.source, coefficients / largest
        functions = replace(functions, source=lambda p: original(p) / largest)
    generator = torch.Generator(geometry.start.device).manual_seed(0)
    check = assemble(coefficients, geometry, functions, (9, 9), (2048, 1024), generator)
    return Stated(coefficients, geometry, functions, check)


def defect(stated: Stated, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """Residual vector of a solution, in units of u; its norm is what is minimised.

    The sum of the mean squares of (f - L u) / λ in the domain, and of g - u and
    (h - ∇u · n) / k on the boundary. With k = π/2, the square's lowest wave number,
    λ = |c_0| + k (|c_1| + |c_2|) + k² (|c_3| + |c_4|) is the size of L on the
    smoothest functions, so each part is about the error it makes in u.
    """
    check = stated.check
    k = math.pi / 2
    powers = check.coefficients.new_tensor([1.0, k, k, k * k, k * k])
    size = float((check.coefficients.abs() @ powers).max())
    inner = jet(check.points)
    outer = jet(check.boundary_points)
    n = check.normals
    flux = outer[1] * n[..., 0] + outer[2] * n[..., 1]
    left = check.source - jets.apply_operator(check.coefficients, inner)
    parts = (
        (1 / size, left * check.weights, check.weights),
        (
            1.0,
            (check.dirichlet_values - outer[0]) * check.dirichlet,
            check.dirichlet,
        ),
        (1 / k, (check.neumann_values - flux) * check.neumann, check.neumann),
    )
    return torch.cat([w * r[0] / m.sum().clamp_min(1).sqrt() for w, r, m in parts])


def remaining(
    stated: Stated, jet: Callable[[Tensor], Tensor], scale: float
) -> Functions:
    """What is left of the problem after a solution, divided by `scale`."""
    given = stated.functions

    def source(points: Tensor) -> Tensor:
        found = jets.apply_operator(stated.coefficients, jet(points))
        return (given.source(points) - found) / scale

    def boundary(
        points: Tensor, normals: Tensor, piece: Tensor
    ) -> tuple[Tensor, Tensor]:
        g, h = given.boundary(points, normals, piece)
        found = jet(points)
        flux = found[1] * normals[..., 0] + found[2] * normals[..., 1]
        return (g - found[0]) / scale, (h - flux) / scale

    return Functions(source, boundary)


def magnitude(stated: Stated, jet: Callable[[Tensor], Tensor]) -> float:
    """Size of what is left: the largest of max |g| / 3, max |h| / 10, rms f / 10."""
    check = stated.check
    left = remaining(stated, jet, 1.0)
    n = check.normals
    outer = jet(check.boundary_points)
    flux = outer[1] * n[..., 0] + outer[2] * n[..., 1]
    on_u = ((check.dirichlet_values - outer[0]) * check.dirichlet).abs().max()
    on_flux = ((check.neumann_values - flux) * check.neumann).abs().max()
    f = left.source(check.points) * check.weights
    rms = (f.square().sum() / check.weights.sum().clamp_min(1)).sqrt()
    return float(torch.stack([on_u / 3, on_flux / 10, rms / 10]).max()) or 1.0


def nothing(points: Tensor) -> Tensor:
    """Jets of u = 0."""
    return points.new_zeros(5, *points.shape[:2])


def write(model: HyPINO, stated: Stated, jet: Callable[[Tensor], Tensor]) -> Ensemble:
    """One network for what is left after a solution, found at the scale of training."""
    scale = magnitude(stated, jet)
    functions = remaining(stated, jet, scale)
    n = model.options.resolution
    grids, _ = boundary_grids(stated.geometry, functions, (n, n))
    place = pixels((n, n), grids)[None]
    source = functions.source(place).reshape(1, 1, n, n)
    with torch.no_grad():
        tensors = model(stated.coefficients, torch.cat([grids, source], 1))
    return Ensemble((Target.from_tensors(tensors),), (scale,))


def refine(
    model: HyPINO, stated: Stated, start: Ensemble, rounds: int
) -> tuple[Ensemble, list[float]]:
    """Add corrections, each with the factor of least residual.

    Args:
        model: writes the corrections.
        stated: the problem.
        start: solution to refine.
        rounds: largest number; stops where a round lowers the residual by less than
            one part in a thousand.

    Returns:
        The refined solution, and the residual norm before and after every round.
    """
    with torch.no_grad():
        left = defect(stated, start.jet)
        history = [float(left.norm())]
        offset = defect(stated, nothing)
        for _ in range(rounds):
            added = write(model, stated, start.jet)
            change = offset - defect(stated, added.jet)  # the correction's own image
            factor = float(left @ change / change.square().sum().clamp_min(1e-30))
            norm = float((left - factor * change).norm())
            if not norm < 0.999 * history[-1]:
                break
            start = Ensemble(
                (*start.members, *added.members),
                (*start.scales, factor * added.scales[0]),
            )
            left = defect(stated, start.jet)
            history.append(norm)
    return start, history


def fine_tune(
    stated: Stated,
    start: Ensemble,
    steps: int,
    lbfgs_steps: int = 0,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Ensemble:
    """Fit all weights of a solution to its own residual: Adam, then L-BFGS.

    Args:
        stated: the problem.
        start: solution to begin with.
        steps: of Adam with a cosine schedule, on fresh points each.
        lbfgs_steps: then of L-BFGS with strong Wolfe search, on fixed points.
        learning_rate: of Adam.
        seed: of the points.

    Returns:
        The better of start and fitted solution, by the residual norm of `defect`.
    """
    generator = torch.Generator(stated.coefficients.device).manual_seed(seed + 1)
    scale = magnitude(stated, nothing)
    leaves = [
        [t.detach().clone().requires_grad_() for t in member.tensors()]
        for member in start.members
    ]
    flat = [t for member in leaves for t in member]
    fitted = Ensemble(tuple(Target.from_tensors(m) for m in leaves), start.scales)

    def points(count: int) -> Stated:
        drawn = assemble(
            stated.coefficients,
            stated.geometry,
            stated.functions,
            (9, 9),
            (count, count),
            generator,
        )
        return replace(stated, check=drawn)

    def loss(at: Stated) -> Tensor:
        return (defect(at, fitted.jet) / scale).square().sum()

    optimiser = torch.optim.Adam(flat, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in range(steps):
        optimiser.zero_grad()
        loss(points(512)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    if lbfgs_steps:
        fixed = points(2048)
        newton = torch.optim.LBFGS(
            flat,
            max_iter=lbfgs_steps,
            history_size=60,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

        def closure() -> Tensor:
            newton.zero_grad()
            value = loss(fixed)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        newton.step(closure)  # type: ignore[no-untyped-call]
    done = Ensemble(
        tuple(Target.from_tensors([t.detach() for t in m]) for m in leaves),
        start.scales,
    )
    with torch.no_grad():
        before, after = (float(defect(stated, e.jet).norm()) for e in (start, done))
    return done if after < before else start
