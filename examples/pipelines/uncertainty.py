"""How the pressure drop over bumps spreads: 10,000 predictions and some solves.

The surrogate's mean over all members, plus the mean of solver minus surrogate over a
few (multi-fidelity Monte Carlo with the best weight): unbiased whatever the surrogate
says. Beside it: the solves that Monte Carlo alone would need for the same error.

    python examples/pipelines/uncertainty.py RUN [members] [solved]
"""

import sys
import time

import numpy as np

import opkit
from opkit.case import laws
from opkit.case.record import parse_case

BATCH = 250


def drop(pressure):
    """∫ p(inlet) - p(outlet) dy of (batch, y, x): nodes are even at both ends."""
    ends = np.asarray(pressure)[:, :, 0] - np.asarray(pressure)[:, :, -1]
    return (ends[:, 1:] + ends[:, :-1]).mean(1) / 2


def main(run, members=10_000, solved=100, seed=11):
    """Return means with their standard errors, quantiles, solves saved, and times."""
    surrogate = opkit.load(run)
    case = parse_case(surrogate.config.case)
    solver = case.build_solver()
    drawn = [laws.draw(case.parameters, "random", seed, i) for i in range(members)]
    query = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}

    def rows(first, last):
        return {name: values[first:last] for name, values in query.items()}

    begin = time.perf_counter()
    cheap = [
        drop(surrogate(rows(i, i + BATCH))["pressure"])
        for i in range(0, members, BATCH)
    ]
    cheap, predicting = np.concatenate(cheap), time.perf_counter() - begin
    begin = time.perf_counter()
    true = drop(solver.solve(rows(0, solved)).outputs["pressure"])
    solving = time.perf_counter() - begin
    covariance = np.cov(true, cheap[:solved])
    weight = covariance[0, 1] / covariance[1, 1]
    rest = (true - weight * cheap[:solved]).var(ddof=1)
    error = np.sqrt(rest / solved + weight**2 * cheap.var() / members)
    mean = (true - weight * cheap[:solved]).mean() + weight * cheap.mean()
    alone = true.var(ddof=1) / error**2
    return {
        "surrogate alone": (cheap.mean(), cheap.std() / members**0.5),
        "solver alone": (true.mean(), true.std(ddof=1) / solved**0.5),
        "both": (mean, error),
        "quantiles 1 %, 99 %": tuple(np.quantile(cheap, [0.01, 0.99])),
        "correlation": float(np.corrcoef(true, cheap[:solved])[0, 1]),
        "solves of the same error": float(alone),
        "seconds": (predicting, solving),
        "times faster": float(alone * solving / solved / (predicting + solving)),
    }


if __name__ == "__main__":
    for name, value in main(sys.argv[1], *map(int, sys.argv[2:])).items():
        print(f"{name:>25}: {np.round(value, 5)}")
