"""Permeability from 64 noisy pressures: gradients through a surrogate or the solver.

    minimise |p(a)(sensors) - d|² / σ² + |ξ|²,   log a = m + Σ_k s_k ξ_k φ_k

Prior: ξ ~ N(0, I), the law of the training inputs (16 x 16 cosines). Noise: 1 % of the
largest pressure; the surrogate's measured error is added to its σ².

    python examples/pipelines/inversion.py RUN [figure.png]
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

import opkit
from opkit.case.record import parse_case
from opkit.figures.plots import Panel, rows_of_fields
from opkit.solvers.darcy.adjoint import pressure

MODES, SENSORS, NOISE = 16, 8, 0.01


def main(run, figure=None, seed=3):
    """Return name to (error of log a, true misfit / noise, seconds)."""
    surrogate = opkit.load(run)
    solver = parse_case(surrogate.config.case).build_solver()
    law, n = solver.distribution, surrogate.config.shape.shape[0]
    k = torch.arange(MODES, dtype=torch.float64)
    size = torch.pi**2 * (k[:, None] ** 2 + k**2) + law.tau**2
    scale = law.scale * law.tau ** (law.alpha - 1) * size ** (-law.alpha / 2)
    scale[0, 0] = 0
    waves = torch.cos(torch.pi * torch.linspace(0, 1, n)[:, None].double() * k)
    waves[:, 1:] *= 2**0.5
    at = torch.linspace(0, n - 1, SENSORS + 2).round().long()[1:-1]
    rng, step = np.random.default_rng(seed), (solver.resolution[0] - 1) // (n - 1)
    true = solver.sample(rng)["permeability"]
    exact = solver.solve({"permeability": true[None]}).outputs["pressure"][0]
    exact, true = exact[::step, ::step], torch.from_numpy(np.log(true[::step, ::step]))
    noise = NOISE * exact.max()
    data = torch.from_numpy(rng.normal(exact[np.ix_(at, at)], noise))

    def misfit(log_a, forward):
        return (forward(log_a.exp())[at][:, at] - data).square().mean().sqrt()

    def fit(forward, sigma):
        xi = torch.zeros(MODES, MODES, dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS([xi], 1, 60, line_search_fn="strong_wolfe")

        def loss():
            search.zero_grad()
            log_a = law.mean + waves @ (scale * xi) @ waves.T
            fitting = data.numel() * (misfit(log_a, forward) / sigma) ** 2
            (fitting + xi.square().sum()).backward()
            return fitting + xi.square().sum()

        search.step(loss)
        return law.mean + waves @ (scale * xi.detach()) @ waves.T

    rows, panels = {}, [Panel("log permeability", true.numpy())]
    sigma = np.hypot(noise, surrogate.config.scores[0].relative_l2 * exact.std())
    ways = {"surrogate": (surrogate, sigma), "solver": (pressure, noise)}
    for name, (forward, s) in ways.items():
        begin = time.perf_counter()
        field, seconds = fit(forward, s), time.perf_counter() - begin
        error = float((field - true).norm() / (true - law.mean).norm())
        rows[name] = error, float(misfit(field, pressure)) / noise, seconds
        panels.append(Panel(f"{name}: error {error:.3f}", field.numpy()))
    if figure:
        rows_of_fields(figure, [panels])
    return rows


if __name__ == "__main__":
    words = "{:>9}: error of log a {:.3f} (prior mean 1), misfit {:.2f} noise, {:.2f} s"
    for name, row in main(sys.argv[1], *map(Path, sys.argv[2:])).items():
        print(words.format(name, *row))
