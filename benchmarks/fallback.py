"""Predict, check and fall back, against always solving.

    python -m benchmarks.fallback RUN [--samples 500] [--tolerances 0.02 0.05 0.1]

RUN is a surrogate of the case darcy. Nine tenths of the inputs come from the case's
distribution, a tenth from others (contrast, length scale, log-normal laws). For each
tolerance: how many samples were accepted, refined, solved; which part ends within the
tolerance of the solution at rtol 1e-10; conjugate-gradient iterations and time, beside
those of solving all inputs from nothing to the same residual and to the case's own.
Times are processor seconds on one thread, medians of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import opkit
from opkit.surrogate.checks.fallback import PART

OTHERS = (
    {"kind": "two-phase", "low": 3, "high": 14},
    {"kind": "two-phase", "low": 3, "high": 60},
    {"kind": "two-phase", "low": 3, "high": 12, "tau": 8},
    {"kind": "two-phase", "low": 3, "high": 12, "alpha": 1.4},
    {"kind": "log-normal", "mean": 1.8, "scale": 1},
)


def mixed_inputs(solver: Any, count: int) -> np.ndarray:
    strange = count // 10
    fields = []
    for i in range(count):
        law = solver
        if i >= count - strange:
            law = replace(solver, distribution=OTHERS[i % len(OTHERS)])
        rng = np.random.default_rng(np.random.SeedSequence([987, i]))
        fields.append(law.sample(rng)["permeability"])
    return np.stack(fields).astype(np.float32)


def relative_l2(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    difference, size = (x.reshape(len(v), -1) for x in (u - v, v))
    return np.linalg.norm(difference, axis=1) / np.linalg.norm(size, axis=1)


def interleaved(
    methods: dict[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, float], dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    results = {}
    for _ in range(repeats):
        for name, method in methods.items():
            begin = time.process_time()
            results[name] = method()
            seconds[name].append(time.process_time() - begin)
    return {k: float(np.median(v)) for k, v in seconds.items()}, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--tolerances", type=float, nargs="+", default=[0.03, 0.05, 0.1]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    surrogate = opkit.load(options.run)
    solver = surrogate.checker.context.case_solver.solver
    inputs = mixed_inputs(solver, options.samples)
    fields = {"permeability": inputs.astype(np.float64)}
    truth = replace(solver, rtol=1e-10).solve(fields).outputs["pressure"]
    alike = np.arange(len(inputs)) < len(inputs) - len(inputs) // 10
    predicted = relative_l2(surrogate(inputs), truth)
    print(
        f"{surrogate!r}, one thread, load {os.getloadavg()[0]:.1f}; prediction alone: "
        f"relative L2 {predicted[alike].mean():.4f} like training, "
        f"{predicted[~alike].mean():.4f} others"
    )
    print(
        "tolerance | accepted/refined/solved | within: all, like training, others "
        "| iterations: here, from nothing | s: here (shares of predict, check, solve), "
        "solve to the same residual, to the case's rtol"
    )
    for tolerance in options.tolerances:
        loose = replace(solver, rtol=max(solver.rtol, PART * tolerance))
        methods = {
            "here": lambda t=tolerance: surrogate.solve(inputs, t),
            "loose": lambda s=loose: s.solve(fields),
            "case": lambda: solver.solve(fields),
        }
        seconds, results = interleaved(methods, options.repeats)
        here = results["here"]
        good = relative_l2(here.outputs, truth) <= tolerance
        counts = "/".join(
            str(int((here.action == what).sum()))
            for what in ("accepted", "refined", "solved")
        )
        cold = results["loose"].details["iterations"].sum()
        whole = sum(here.seconds.values())
        whole = sum(here.seconds.values())
        shares = [here.seconds[k] / whole for k in ("predict", "check", "solve")]
        parts = ", ".join(f"{share:.0%}" for share in shares)
        print(
            f"{tolerance:g} | {counts} | {good.mean():.3f}, {good[alike].mean():.3f}, "
            f"{good[~alike].mean():.3f} | {here.iterations.sum():.0f}, {cold:.0f} "
            f"| {seconds['here']:.2f} ({parts}), {seconds['loose']:.2f}, "
            f"{seconds['case']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
