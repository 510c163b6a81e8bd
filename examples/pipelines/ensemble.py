"""Statistics of 10,000 Darcy solutions: xarray over Dask through a surrogate.

Permeabilities are drawn chunk by chunk and predicted chunk by chunk; only statistics
stay in memory. A few members are solved as well, on a grid twice as fine: they show the
surrogate's bias, and correct it (multi-fidelity Monte Carlo: the surrogate's mean over
all members plus the mean of solver minus surrogate over the few).

    python examples/pipelines/ensemble.py RUN [members] [solved]
"""

import sys
import time

import dask
import dask.array as da
import numpy as np
import xarray as xr

import opkit
from opkit.case.record import parse_case

CHUNK = 250


def main(run: str, members: int = 10_000, solved: int = 200, seed: int = 7) -> dict:
    """Return statistics of each member's largest pressure, and times."""
    surrogate = opkit.load(run)
    case = parse_case(surrogate.config.case)
    fine = case.build_solver()
    law = fine.distribution
    n = surrogate.config.shape.shape[0]

    def draw(first: int, count: int, points: int) -> np.ndarray:
        streams = (
            np.random.SeedSequence([seed, i]) for i in range(first, first + count)
        )
        fields = [law.draw(np.random.default_rng(s), (points, points)) for s in streams]
        return np.stack(fields).astype(np.float32)

    counts = [min(CHUNK, members - first) for first in range(0, members, CHUNK)]
    blocks = [
        da.from_delayed(dask.delayed(draw)(k * CHUNK, m, n), (m, n, n), np.float32)
        for k, m in enumerate(counts)
    ]
    axis = np.linspace(0, 1, n)
    fields = da.concatenate(blocks)
    permeability = xr.DataArray(fields, {"y": axis, "x": axis}, ("member", "y", "x"))
    pressure = surrogate(permeability)  # lazy: nothing is drawn or predicted yet
    begin = time.perf_counter()
    with dask.config.set(scheduler="synchronous"):  # torch has threads of its own
        (largest,) = dask.compute(pressure.max(("y", "x")).data)
    predicting = time.perf_counter() - begin
    inputs = {"permeability": draw(0, solved, fine.resolution[0]).astype(float)}
    fine.solve({"permeability": inputs["permeability"][:1]})  # compiles
    begin = time.perf_counter()
    truth = fine.solve(inputs).outputs["pressure"].max((1, 2))
    solving = time.perf_counter() - begin
    gap = truth - largest[:solved]
    corrected = largest.mean() + gap.mean()
    of_gap, of_all = gap.std() / solved**0.5, largest.std() / members**0.5
    return {
        "lazy": pressure.chunks is not None,
        "surrogate mean": (largest.mean(), of_all),
        "solver mean": (truth.mean(), truth.std() / solved**0.5),
        "corrected mean": (corrected, float(np.hypot(of_gap, of_all))),
        "bias": (gap.mean(), of_gap),
        "99 % quantile": (np.quantile(largest, 0.99), np.nan),
        "seconds": (predicting, solving),
        "solver, all members": solving / solved * members,
    }


if __name__ == "__main__":
    results = main(sys.argv[1], *map(int, sys.argv[2:]))
    for name, value in results.items():
        if isinstance(value, tuple):
            print(f"{name:>22}: {value[0]:.6g} ± {value[1]:.2g}")
        else:
            print(f"{name:>22}: {value}")
