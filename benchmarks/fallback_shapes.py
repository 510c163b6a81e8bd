"""Predict, check and fall back on a dear case, against always solving.

    python -m benchmarks.fallback_shapes RUN [--queries 500] [--tolerances 0.05 0.1]

RUN is a surrogate of a case whose inputs are numbers per sample. Nine tenths of the
queries follow the case's laws; in a tenth one number lies beyond its law, by up to a
quarter of its range (of a normal law: at 4 standard deviations). Printed for each
tolerance: how many queries were accepted, refined, solved; which part ends within the
tolerance of the solver's answer; seconds in all, beside those of always solving. Each
query is asked once, alone, on one thread; answers of the solver are timed in the same
process, in turn with the surrogate's.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import opkit
from opkit.case import laws
from opkit.errors import OpkitError

SEED = 4711


def query(case: Any, i: int, strange: bool) -> dict[str, np.ndarray]:
    """Numbers of query i, one of them beyond its law if strange."""
    drawn = laws.draw(case.parameters, "random", SEED, i)
    if not strange:
        return drawn
    rng = np.random.default_rng([SEED, i])
    name = list(drawn)[rng.integers(len(drawn))]
    law = case.parameters[name]
    values = np.atleast_1d(np.array(drawn[name], float))
    k = rng.integers(len(values))
    low, high = (np.broadcast_to(v, values.shape)[k] for v in law.support)
    if np.isfinite(high):
        values[k] = high + rng.uniform(0.05, 0.25) * (high - low)
    else:
        std = np.broadcast_to(np.atleast_1d(law.std), values.shape)[k]
        values[k] = np.broadcast_to(law.mean, values.shape)[k] + 4 * std
    return {**drawn, name: values.reshape(np.shape(drawn[name]))}


def relative_l2(found: dict[str, Any], truth: dict[str, Any]) -> float:
    """Mean over the outputs, as surrogates are scored."""
    return float(
        np.mean(
            [
                np.linalg.norm(np.asarray(found[k]) - truth[k])
                / np.linalg.norm(truth[k])
                for k in truth
            ]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[0.05, 0.1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    surrogate = opkit.load(options.run)
    case_solver = surrogate.checker.context.case_solver
    case, solver = case_solver.case, case_solver.solver
    count = options.queries
    print(f"{surrogate!r}, one thread, load {os.getloadavg()[0]:.1f}")
    always, refused = 0.0, 0
    rows: dict[float, list[tuple[str, float, float, bool]]] = {
        t: [] for t in options.tolerances
    }
    for i in range(count):
        strange = i % 10 == 9
        numbers = query(case, i, strange)
        batch = {name: np.asarray(v)[None] for name, v in numbers.items()}
        try:
            begin = time.perf_counter()
            outputs = solver.solve(batch).outputs
            seconds = time.perf_counter() - begin
        except OpkitError:
            refused += 1
            continue
        always += seconds
        truth = {v.name: outputs[v.name][0] for v in surrogate.config.outputs}
        for tolerance in options.tolerances:
            begin = time.perf_counter()
            answer = surrogate.solve(numbers, tolerance)
            seconds = time.perf_counter() - begin
            error = relative_l2(answer.outputs, truth)
            rows[tolerance].append((str(answer.action[0]), error, seconds, strange))
    print(f"always solving: {always:.1f} s; {refused} queries that the solver refuses")
    print(
        "tolerance | accepted/refined/solved | within: all, like training, others | "
        "seconds | always solving over it"
    )
    for tolerance, answers in rows.items():
        actions, errors, seconds, strange = (
            np.array(column) for column in zip(*answers, strict=True)
        )
        counts = "/".join(
            str(int((actions == what).sum()))
            for what in ("accepted", "refined", "solved")
        )
        good = errors <= tolerance
        shares = ", ".join(
            f"{part.mean():.3f}" for part in (good, good[~strange], good[strange])
        )
        total = seconds.sum()
        print(
            f"{tolerance:g} | {counts} | {shares} | {total:.1f} | {always / total:.1f}"
        )


if __name__ == "__main__":
    main()
