"""Which numbers matter: Sobol indices of a pressure drop, by SALib on a surrogate.

    S_i = Var(E(y | x_i)) / Var(y),   S_Ti = 1 - Var(E(y | all but x_i)) / Var(y)

Saltelli's design needs n (d + 2) evaluations: 12,288 for ten numbers and n = 1,024,
which is what a surrogate is for. The ranges are those of the case's laws.

    python examples/tools/sensitivity.py runs/demo/pod-gp [n]
"""

import sys
import time

import numpy as np
from SALib.analyze import sobol
from SALib.sample import sobol as design

import opkit
from opkit.case.record import parse_case

BATCH = 256


def indices(function, low, high, n, seed=0):
    """Return first-order and total indices and their 95 % half widths, each (d,)."""
    count = len(low)
    names = [str(k) for k in range(count)]
    problem = {"num_vars": count, "names": names, "bounds": list(zip(low, high))}  # noqa: B905
    points = design.sample(problem, n, calc_second_order=False, seed=seed)
    values = function(points)
    found = sobol.analyze(problem, values, calc_second_order=False, seed=seed)
    return found["S1"], found["S1_conf"], found["ST"], found["ST_conf"]


def drop_of(surrogate, sizes):
    """The pressure drop of points (batch, number), as the laws' names lie in them."""

    def drop(points):
        values = []
        for part in np.array_split(points, -(-len(points) // BATCH)):
            cuts = np.split(part, np.cumsum(list(sizes.values()))[:-1], 1)
            query = dict(zip(sizes, cuts, strict=True))
            query["reynolds"] = query["reynolds"][:, 0]
            pressure = surrogate(query)["pressure"]
            ends = pressure[:, :, 0] - pressure[:, :, -1]
            values.append((ends[:, 1:] + ends[:, :-1]).mean(1) / 2)
        return np.concatenate(values).astype(float)

    return drop


def main(run, n=1024):
    """Return names of the numbers, and their indices."""
    surrogate = opkit.load(run)
    laws = parse_case(surrogate.config.case).parameters
    sizes = {name: int(np.prod(law.shape)) for name, law in laws.items()}
    ends = [
        np.broadcast_arrays(*law.support, np.empty(law.shape)) for law in laws.values()
    ]
    low, high = (np.concatenate([np.ravel(e[k]) for e in ends]) for k in (0, 1))
    labels = [f"{name} {k + 1}" for name, size in sizes.items() for k in range(size)]
    return labels, indices(drop_of(surrogate, sizes), low, high, n)


if __name__ == "__main__":
    begin = time.perf_counter()
    labels, (first, first_half, total, total_half) = main(
        *sys.argv[1:2], *map(int, sys.argv[2:])
    )
    for k in np.argsort(-total):
        print(
            f"{labels[k]:>12}: alone {first[k]:.3f} ± {first_half[k]:.3f}, "
            f"in all {total[k]:.3f} ± {total_half[k]:.3f}"
        )
    print(f"{time.perf_counter() - begin:.0f} s")
