"""Two-phase permeability from 36 noisy pressures: learned prior against known ones.

    python -m benchmarks.proximal_prior [--seeds 0 1 2] [--truths 6] [--validate 3]

    D(u) = |p(exp(m + h u)) - d|² / 2 η²,   u = ±1: the two phases, 32 x 32 nodes

d: 6 x 6 pressures with noise η of 2 % of the largest; gradients by the adjoint of the
solver. The weight of each method (of the learned prior: σ of its training, too) is the
one with the fewest wrong nodes on other truths. 2,000 samples of the law for the
Gaussian and the learned prior; their seed, and those of truths and noise, differ.

- Gaussian: u as a Gaussian field with the mean and covariance of two-phase samples, in
  their first 256 principal components; w = 1 is its law, and w is chosen all the same
- total variation: D + ρ M(u), M the Moreau envelope of (w / ρ) TV by its dual
  (Chambolle), ρ the curvature of D: TV but for the rounding of edges, by w / ρ
- learned, smoothed: D + ρ M(u), M the envelope of the learned prior
- learned, exact: D + λ R(u), λ = 1.5 times the curvature of D, below which nothing is
  guaranteed; doubled where that was not enough
- level set: u = tanh(g / ε), g the Gaussian field of the law itself: for those who know
  the law, not only samples of it

Total variation and the learned prior start from the answer of the Gaussian, whose time
is not counted again. Error: relative L2 of log a about m; wrong: nodes in the other
phase; misfit: root mean square in units of η; processor time of one inversion.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from opkit.errors import NotConvergedError
from opkit.priors.proximal import Matching, ProximalNetwork
from opkit.priors.splitting import (
    Inversion,
    Prior,
    TotalVariation,
    half_quadratic,
    proximal_gradient,
)
from opkit.solvers.darcy.adjoint import pressure
from opkit.solvers.laws.permeability import TwoPhase

N, SENSORS, NOISE = 32, 6, 0.02
LAW = TwoPhase()
MIDDLE = float(np.log(LAW.low * LAW.high)) / 2
HALF = float(np.log(LAW.high / LAW.low)) / 2
AT = torch.linspace(0, N - 1, SENSORS + 2).round().long()[1:-1]

Method = Callable[["Case", float], Tensor]


def phases(count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    drawn = np.stack([LAW.draw(rng, (N, N)) for _ in range(count)])
    return torch.from_numpy(np.sign(np.log(drawn) - MIDDLE))


def sensed(u: Tensor) -> Tensor:
    return pressure((MIDDLE + HALF * u).exp())[AT][:, AT]


class Case:
    """A truth, and its data."""

    def __init__(self, true: Tensor, seed: int) -> None:
        self.true = true
        p = pressure((MIDDLE + HALF * true).exp())
        self.noise = NOISE * float(p.max())
        generator = torch.Generator().manual_seed(seed)
        error = torch.randn(SENSORS, SENSORS, generator=generator).double()
        self.data = p[AT][:, AT] + self.noise * error

    def misfit(self, u: Tensor) -> Tensor:
        """D of one field (y, x)."""
        off = (sensed(u) - self.data) / self.noise
        return off.square().sum() / 2

    def scores(self, u: Tensor) -> tuple[float, float, float]:
        """Error, part of the nodes that is wrong, and misfit in units of η."""
        error = float((u - self.true).norm() / self.true.norm())
        wrong = float(((u > 0) != (self.true > 0)).double().mean())
        with torch.no_grad():
            return error, wrong, float(self.misfit(u) * 2 / SENSORS**2) ** 0.5


def curvature(cases: Sequence[Case]) -> float:
    """Largest eigenvalue of the Gauss-Newton Hessian of D, at truths and at u = 0."""
    size = 0.0
    for case in cases:
        for u in (case.true, torch.zeros(N, N).double()):
            slope = torch.autograd.functional.jacobian(sensed, u).flatten(0, 1)
            norm = torch.linalg.matrix_norm(slope.flatten(1), 2) / case.noise
            size = max(size, float(norm**2))
    return size


def descend(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int = 60) -> Tensor:
    x = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [x], 1, steps, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        value = loss(x)
        value.backward()
        return value

    search.step(closure)
    return x.detach()


def gaussian(samples: Tensor) -> Method:
    flat = samples.flatten(1)
    mean = flat.mean(0)
    _, size, basis = torch.linalg.svd(flat - mean, full_matrices=False)
    basis = basis[:256] * (size[:256, None] / len(flat) ** 0.5)

    def invert(case: Case, weight: float) -> Tensor:
        def field(xi: Tensor) -> Tensor:
            return (mean + xi @ basis).view(N, N)

        def loss(xi: Tensor) -> Tensor:
            return case.misfit(field(xi)) + weight * xi.square().sum() / 2

        return field(descend(loss, torch.zeros(256).double()))

    return invert


def level_set(
    case: Case, weight: float, modes: int = 16, sharp: float = 0.05
) -> Tensor:
    k = torch.arange(modes).double()
    size = torch.pi**2 * (k[:, None] ** 2 + k**2) + LAW.tau**2
    scale = LAW.tau ** (LAW.alpha - 1) * size ** (-LAW.alpha / 2)
    scale[0, 0] = 0
    waves = torch.cos(torch.pi * torch.linspace(0, 1, N)[:, None].double() * k)
    waves[:, 1:] *= 2**0.5

    def field(xi: Tensor) -> Tensor:
        return torch.tanh(waves @ (scale * xi) @ waves.T / sharp)

    def loss(xi: Tensor) -> Tensor:
        return case.misfit(field(xi)) + weight * xi.square().sum() / 2

    return field(descend(loss, torch.zeros(modes, modes).double()))


def remembered(method: Method) -> Method:
    """The same method, which computes each answer once."""
    answers: dict[tuple[int, float], Tensor] = {}

    def invert(case: Case, weight: float) -> Tensor:
        key = id(case), weight
        if key not in answers:
            answers[key] = method(case, weight)
        return answers[key]

    return invert


def exact(
    case: Case, network: ProximalNetwork, start: Tensor, curved: float
) -> Inversion:
    weight = 1.5 * curved
    while True:
        try:
            return proximal_gradient(case.misfit, network, start, weight)
        except NotConvergedError:
            weight *= 2


def measure(
    name: str,
    ways: dict[str, Callable[[Case], Tensor]],
    validation: Sequence[Case],
    truths: Sequence[Case],
) -> str:
    """Print a row of the best of several ways, and return its name."""

    def wrong(way: str) -> float:
        return float(np.mean([c.scores(ways[way](c))[1] for c in validation]))

    chosen = min(ways, key=wrong)
    begin = time.process_time()
    found = [ways[chosen](case) for case in truths]
    seconds = (time.process_time() - begin) / len(truths)
    scores = np.array([c.scores(u) for c, u in zip(truths, found, strict=True)])
    (error, part, misfit), spread = scores.mean(0), scores[:, 1].std(ddof=1)
    spread /= len(truths) ** 0.5
    print(
        f"| {name} | {chosen} | {error:.3f} | {100 * part:.1f} ± {100 * spread:.1f} % "
        f"| {misfit:.2f} | {seconds:.1f} s |",
        flush=True,
    )
    return chosen


def path(name: str, found: Inversion) -> None:
    places = [k for k in (0, 1, 2, 5, 10, 20, 50, 100) if k < len(found.objective) - 1]
    for k in [*places, len(found.objective) - 1]:
        print(f"| {name} | {k} | {found.objective[k]:.3f} | {found.residual[k]:.2e} |")
    falls = bool((np.diff(found.objective) < 1e-9).all())
    print(f"{name}: J fell in each step: {falls}; converged: {found.converged}")


def run(seed: int, count: int, validate: int, sigmas: Sequence[float]) -> None:
    samples = phases(2000, 10 * seed + 1)
    validation = [
        Case(u, 100 * seed + i) for i, u in enumerate(phases(validate, 10 * seed + 2))
    ]
    truths = [
        Case(u, 100 * seed + 50 + i) for i, u in enumerate(phases(count, 10 * seed + 3))
    ]
    curved = curvature(validation)
    print(f"\nseed {seed}, curvature of D: {curved:.1f}\n")
    print(
        "| prior | chosen | error | wrong | misfit | time |\n|---|---|---|---|---|---|"
    )
    normal = remembered(gaussian(samples))
    ways: dict[str, Callable[[Case], Tensor]]
    ways = {f"w = {w}": lambda c, w=w: normal(c, w) for w in (0.03, 0.1, 0.3, 1.0)}
    chosen = measure("Gaussian", ways, validation, truths)
    usual = float(chosen.split()[-1])

    def start(case: Case) -> Tensor:
        return normal(case, usual)

    def smoothed(case: Case, prior: Prior, weight: float) -> Inversion:
        return half_quadratic(case.misfit, prior, start(case), weight, 60, 1e-3)

    def tv(case: Case, weight: float) -> Tensor:
        prior = TotalVariation(weight / curved, tolerance=1e-7)
        return smoothed(case, prior, curved).field

    ways = {f"w = {w}": lambda c, w=w: tv(c, w) for w in (0.01, 0.03, 0.1, 0.3)}
    measure("total variation", ways, validation, truths)
    networks, training = {}, {}
    for sigma in sigmas:
        begin = time.process_time()
        matching = Matching(
            sigma, steps=60, warm_steps=220, rate=1e-2, batch=16, seed=seed
        )
        networks[sigma] = ProximalNetwork.fit(samples, matching, width=16).double()
        training[sigma] = time.process_time() - begin
    ways = {
        f"σ = {sigma}, ρ = {w}": lambda c, f=network, w=w: smoothed(c, f, w).field
        for sigma, network in networks.items()
        for w in (0.03, 0.1, 0.3, 1.0)
    }
    chosen = measure("learned, smoothed", ways, validation, truths)
    sigma, rho = (float(part.split()[-1]) for part in chosen.split(","))
    ways = {
        f"σ = {sigma}": lambda c, f=network: exact(c, f, start(c), curved).field
        for sigma, network in networks.items()
    }
    best = measure("learned, exact", ways, validation, truths)
    print("\n| first truth | step | J | residual |\n|---|---|---|---|")
    path("smoothed", smoothed(truths[0], networks[sigma], rho))
    network = networks[float(best.split()[-1])]
    path("exact", exact(truths[0], network, start(truths[0]), curved))
    times = ", ".join(f"σ = {s}: {t:.0f} s" for s, t in training.items())
    print(f"training: {times}\n", flush=True)
    ways = {f"w = {w}": lambda c, w=w: level_set(c, w) for w in (0.3, 1.0, 3.0)}
    measure("level set, law known", ways, validation, truths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--truths", type=int, default=6)
    parser.add_argument("--validate", type=int, default=3)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.5, 1.5])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for seed in asked.seeds:
        begin = time.process_time()
        run(seed, asked.truths, asked.validate, asked.sigmas)
        print(f"whole: {time.process_time() - begin:.0f} s", flush=True)
    print(f"processor time, one thread, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
