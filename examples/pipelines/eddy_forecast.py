"""Ensemble forecast of quasi-geostrophic eddies: surrogate and solver side by side.

The truth is a state of the attractor; the analysis is the truth with an error of 10 %
in the waves 3 to 10, and each member is the analysis with another such error. The mean
of the members is the forecast, their spread its uncertainty: an ensemble of M that
knows its error has spread √((M + 1) / M) = error of the mean, over many cases.

    python examples/pipelines/eddy_forecast.py RUN [members] [cases] [figure.png]
"""

import sys
import time
from pathlib import Path

import numpy as np

import opkit
from opkit.case.record import parse_case
from opkit.figures.plots import Panel, rows_of_fields
from opkit.solvers.quasi_geostrophic.diagnostics import streamfunction_hat
from opkit.solvers.quasi_geostrophic.laws import RandomWaves

ERROR = 0.1
Q = "potential_vorticity"


def main(run, members=20, cases=5, figure=None, seed=2):
    """Return name to (error of the mean, spread, seconds a member), upper layer."""
    surrogate = opkit.load(run)
    solver = parse_case(surrogate.config.case).build_solver()
    rng, model = np.random.default_rng(seed), solver.model()

    def disturbed(state):
        waves = RandomWaves(low=3, high=10, rms=1.0)
        noise = waves.draw(rng, solver.layers, solver.resolution)
        return state + ERROR * state.std((1, 2), keepdims=True) * noise

    def solve(states):
        return solver.solve({f"initial_{Q}": states}).outputs[Q]

    def step(states):
        psi_hat, _ = streamfunction_hat(model, states)
        psi = np.fft.irfft2(psi_hat, solver.resolution, norm="forward")
        frames = np.concatenate([states, psi], 1)[:, None]  # layers of q, then of ψ
        return surrogate.rollout(frames.astype(np.float32), solver.records)

    truths, forecasts, seconds = [], {"solver": [], "surrogate": []}, {}
    for _ in range(cases):
        truth = solver.sample(rng)[f"initial_{Q}"]
        truths.append(solve(truth[None])[0, :, 0])
        analysis = disturbed(truth)
        starts = np.stack([disturbed(analysis) for _ in range(members)])
        for name, forecast in (("solver", solve), ("surrogate", step)):
            begin = time.perf_counter()
            forecasts[name].append(forecast(starts)[:, :, 0])
            seconds[name] = (time.perf_counter() - begin) / members
    truth = np.stack(truths)  # (case, time, y, x)
    scale = np.sqrt((truth**2).mean((0, 2, 3)))
    scores, panels = {}, [Panel("q, truth", truth[0, -1])]
    for name, fields in forecasts.items():
        ensemble = np.stack(fields)  # (case, member, time, y, x)
        mean = ensemble.mean(1)
        error = np.sqrt(((mean - truth) ** 2).mean((0, 2, 3))) / scale
        spread = np.sqrt(ensemble.var(1, ddof=1).mean((0, 2, 3))) / scale
        scores[name] = error, spread, seconds[name]
        panels.append(Panel(f"mean of {members}, {name}", mean[0, -1]))
    if figure:
        rows_of_fields(Path(figure), [panels])
    return scores


if __name__ == "__main__":
    scores = main(sys.argv[1], *map(int, sys.argv[2:4]), *sys.argv[4:5])
    for name, (error, spread, seconds) in scores.items():
        print(f"{name}, {1e3 * seconds:.1f} ms a member: error of the mean, spread")
        for record, pair in enumerate(zip(error, spread, strict=True), 1):
            print("  record {:2d}  {:.3f}  {:.3f}".format(record, *pair))
