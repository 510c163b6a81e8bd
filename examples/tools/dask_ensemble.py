"""An ensemble on processes of Dask: each worker loads the surrogate once.

A task is a seed and a count, not an array: inputs are drawn where they are predicted,
and what comes back is a count, a sum and a sum of squares. A surrogate that travelled
inside each task would be sent anew with each. On a cluster, give the address of its
scheduler in place of `processes`, and a RUN that all its machines can read.

    python examples/tools/dask_ensemble.py runs/demo/pod-gp [members] [processes]
"""

import sys
import time
from functools import cache

import numpy as np
from dask.distributed import Client, LocalCluster

CHUNK = 250


@cache
def loaded(run):
    """The surrogate and the laws of its case; one of each process."""
    import torch

    import opkit
    from opkit.case.record import parse_case

    torch.set_num_threads(1)  # the processes share the cores
    surrogate = opkit.load(run)
    return surrogate, parse_case(surrogate.config.case).parameters


def chunk(run, seed, count):
    """Predict members of one seed; return count, Σ y, Σ y² of the pressure drop."""
    from opkit.case.laws import draw

    surrogate, laws = loaded(run)
    rows = [draw(laws, "random", seed, k) for k in range(count)]
    query = {name: np.stack([row[name] for row in rows]) for name in laws}
    pressure = surrogate(query)["pressure"].astype(float)
    ends = pressure[:, :, 0] - pressure[:, :, -1]
    y = (ends[:, 1:] + ends[:, :-1]).mean(1) / 2
    return np.array([count, y.sum(), np.square(y).sum()])


def main(run, members=10_000, processes=2, address=None):
    """Return the mean pressure drop, its standard error, and the processes' ids."""
    cluster = address or LocalCluster(
        n_workers=processes,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
    )
    with Client(cluster) as client:
        counts = np.diff(np.append(np.arange(0, members, CHUNK), members)).tolist()
        tasks = client.map(
            chunk, [run] * len(counts), range(len(counts)), counts, pure=False
        )
        parts = client.gather(tasks)
        used = set(client.run(process_id).values())
    if address is None:
        cluster.close()
    count, total, squares = sum(parts)
    mean = total / count
    return mean, np.sqrt((squares / count - mean**2) / count), used


def process_id():
    """The process that this runs in."""
    import os

    return os.getpid()


if __name__ == "__main__":  # spawned processes import this file
    begin = time.perf_counter()
    mean, error, used = main(sys.argv[1], *map(int, sys.argv[2:]))
    print(f"mean pressure drop {mean:.4f} ± {error:.4f}, {len(used)} processes")
    print(f"{time.perf_counter() - begin:.1f} s")
