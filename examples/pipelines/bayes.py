"""Initial vorticity from 49 noisy values at a later time: pCN, surrogate and solver.

    y = w(T)(sensors) + N(0, σ²),  w₀ ~ prior,  Φ(w₀) = |y - G(w₀)|² / (2 σ²)
    propose √(1 - β²) w₀ + β ξ, ξ ~ prior; accept with min(1, exp(Φ(w₀) - Φ(proposal)))

As in Li et al. 2021 (7 x 7 values, 30,000 steps), with T of the case. The prior is the
law of the training inputs; σ is 10 % of the values' spread; a sixth of the steps tunes
β to accept a quarter. Data: the solver on a grid twice as fine as both chains'.

    python examples/pipelines/bayes.py RUN [steps]
"""

import sys
import time
from dataclasses import replace

import numpy as np

import opkit
from opkit.case.record import parse_case

SENSORS, NOISE, QUARTER = 7, 0.1, 0.25


def pcn(potential, draw, rng, steps):
    """Return the chain's mean and spread, the acceptance rate and β after burn-in."""
    state, beta, accepted = draw(rng), 0.2, 0
    energy, length = potential(state), steps - steps // 6
    first, second = np.zeros_like(state), np.zeros_like(state)
    for step in range(-(steps // 6), length):
        proposal = np.sqrt(1 - beta**2) * state + beta * draw(rng)
        after = potential(proposal)
        accept = np.log(rng.random()) < energy - after
        if accept:
            state, energy = proposal, after
        if step < 0:  # Robbins-Monro on log β
            beta *= np.exp((accept - QUARTER) / np.sqrt(step + steps // 6 + 1))
            beta = min(beta, 1.0)
            continue
        accepted += accept
        first, second = first + state / length, second + state**2 / length
    spread = np.sqrt(np.maximum(second - first**2, 0).mean())
    return first, spread, accepted / length, beta


def main(run, steps=30_000, seed=5):
    """Return name to (error of the mean, spread, acceptance, β, seconds a step)."""
    surrogate = opkit.load(run)
    n = surrogate.config.shape.shape[0]
    solver = parse_case(surrogate.config.case).build_solver()
    solver = replace(solver, resolution=(n, n))
    fine = replace(solver, resolution=(2 * n, 2 * n))
    at = np.ix_(*[np.arange(SENSORS) * n // SENSORS] * 2)
    streams = [np.random.default_rng([seed, k]) for k in range(4)]

    def draw(rng):
        return solver.sample(rng)["initial_vorticity"]

    def solve(w, by=solver):
        return by.solve({"initial_vorticity": w[None]}).outputs["vorticity"][0, -1]

    true = fine.sample(streams[0])["initial_vorticity"]
    truth, y = true[::2, ::2], solve(true, fine)[::2, ::2][at]
    sigma = NOISE * y.std()
    y = y + sigma * streams[1].standard_normal(y.shape)
    half, chains, rows = 0.5 / sigma**2, {"surrogate": surrogate, "solver": solve}, {}
    for (name, g), rng in zip(chains.items(), streams[2:], strict=True):
        begin = time.perf_counter()
        chain = pcn(lambda w, g=g: half * ((g(w)[at] - y) ** 2).sum(), draw, rng, steps)
        seconds = (time.perf_counter() - begin) / steps
        error = np.linalg.norm(chain[0] - truth) / np.linalg.norm(truth)
        rows[name] = error, *chain[1:], seconds
    return rows


if __name__ == "__main__":
    print("          error of mean   spread   accepted   beta   s a step")
    for name, row in main(sys.argv[1], *map(int, sys.argv[2:])).items():
        print("{:>9} {:13.4f} {:8.4f} {:10.3f} {:6.3f} {:10.5f}".format(name, *row))
