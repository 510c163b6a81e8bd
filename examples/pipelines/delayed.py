"""Bumps and Reynolds number from noisy wall pressures; the posterior is the solver's.

    p(z | d) ∝ exp(-|p(z)(sensors) - d|² / 2 σ²) for z in the box of the case's laws

Delayed acceptance (Christen, Fox, 2005): `inner` Metropolis steps on the surrogate's
posterior π* make one proposal; the solver accepts it with min(1, π(z') π*(z) / (π(z)
π*(z'))), so the chain's law is π. Beside it: as many single steps by the solver alone.

    python examples/pipelines/delayed.py RUN [solves]
"""

import sys
import time
from functools import partial

import numpy as np

import opkit
from opkit.case.record import parse_case

SENSORS, NOISE, INNER = 12, 0.02, 100


def chain(start, log_p, proposed, steps, rng):
    """Metropolis; `proposed(z)` gives z' and log of the ratio of its densities."""
    z, value, path, taken = start, log_p(start), [], 0
    for _ in range(steps):
        new, ratio = proposed(z)
        new_value = log_p(new) if np.isfinite(ratio) else -np.inf
        if np.log(rng.random()) < new_value - value + ratio:
            z, value, taken = new, new_value, taken + 1
        path.append(z)
    return np.array(path), taken / steps


def random_step(root, rng):
    """Proposals z + N(0, s² root rootᵀ), s the best for a normal law (Haario)."""
    root = 2.38 / len(root) ** 0.5 * root
    return lambda z: (z + root @ rng.normal(size=len(z)), 0.0)


def surrogate_steps(log_p, step, inner, rng):
    """Proposals by `inner` steps that keep exp(log_p); their ratio is π*(z)/π*(z')."""

    def proposed(z):
        new = chain(z, log_p, step, inner, rng)[0][-1]
        return new, log_p(z) - log_p(new)

    return proposed


def learnt(log_p, start, rounds, steps, rng):
    """A root of the covariance of exp(log_p), learnt by walking on it."""
    root, z = 0.02 * np.eye(len(start)), start
    for _ in range(rounds):
        path, _ = chain(z, log_p, random_step(root, rng), steps, rng)
        covariance = np.cov(path[steps // 4 :].T) + 1e-8 * np.eye(len(z))
        root, z = np.linalg.cholesky(covariance), path[-1]
    return root


def effective(path):
    """Smallest effective sample size of the components, correlations above 0.05."""
    sizes = []
    for x in (path - path.mean(0)).T:
        correlation = np.correlate(x, x, "full")[len(x) - 1 :] / max(x @ x, 1e-300)
        end = np.argmax(np.append(correlation, 0) < 0.05)
        sizes.append(len(x) / abs(2 * correlation[:end].sum() - 1))
    return min(sizes)


def main(run, solves=300, inner=INNER, rounds=4, steps=1000, seed=5):
    """Return name to (mean, deviation, effective samples, acceptance, seconds)."""
    surrogate = opkit.load(run)
    case = parse_case(surrogate.config.case)
    solver, rng = case.build_solver(), np.random.default_rng(seed)
    sizes = [int(np.prod(law.shape)) for law in case.parameters.values()]
    cuts, last = np.cumsum(sizes)[:-1], surrogate.config.shape.shape[1] - 1
    at = np.linspace(0, last, SENSORS + 2)[1:-1].round().astype(int)

    def numbers(u):
        """Numbers of the laws at quantiles u in (0, 1)."""
        parts = zip(case.parameters.items(), np.split(u, cuts), strict=True)
        quantiles = {key: law.quantile(u.reshape(law.shape)) for (key, law), u in parts}
        return {key: np.asarray(value)[None] for key, value in quantiles.items()}

    def pressures(outputs):
        return np.asarray(outputs["pressure"])[0, -1, at]

    true = rng.uniform(0.2, 0.8, sum(sizes))
    exact = pressures(solver.solve(numbers(true)).outputs)
    noise = NOISE * np.ptp(exact)
    data = rng.normal(exact, noise)

    def log_p(u, forward, sigma):
        if not ((u > 0) & (u < 1)).all():
            return -np.inf
        off = pressures(forward(numbers(u))) - data
        return -0.5 * float(off @ off) / sigma**2

    by_solver = partial(log_p, forward=lambda z: solver.solve(z).outputs, sigma=noise)
    by_surrogate = partial(log_p, forward=surrogate, sigma=1.5 * noise)
    step = random_step(learnt(by_surrogate, true, rounds, steps, rng), rng)
    delayed, rows = surrogate_steps(by_surrogate, step, inner, rng), {}
    for name, proposed in {"delayed acceptance": delayed, "solver alone": step}.items():
        begin = time.perf_counter()
        path, accepted = chain(true, by_solver, proposed, solves, rng)
        row = path.mean(0), path.std(0), effective(path), accepted
        rows[name] = *row, time.perf_counter() - begin
    return rows, true


if __name__ == "__main__":
    for name, row in main(sys.argv[1], *map(int, sys.argv[2:]))[0].items():
        mean, std, size, accepted, seconds = row
        print(
            f"{name:>18}: {size:.1f} effective samples in {seconds:.0f} s, acceptance "
            f"{accepted:.2f}, quantile of Re {mean[-1]:.2f} ± {std[-1]:.2f}"
        )
