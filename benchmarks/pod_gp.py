"""Errors and intervals of a trained pod-gp by variable, on the test split of its data.

    python -m benchmarks.pod_gp RUN DATA.h5 [--batch 64]

prints for each output the relative L2 error, that of the mean of the training outputs,
the best that its modes could do, and the share of values within 1.96 of the operator's
own standard deviations; then the bounds of the check and seconds per sample.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import opkit
from opkit.datasets.field_dataset import FieldDataset
from opkit.operators.inputs import Inputs
from opkit.operators.pod_gp.pod_gp import NORMAL, PODGP
from opkit.surrogate.bundle import forward
from opkit.surrogate.checks.interface import Pairs
from opkit.surrogate.surrogate import Surrogate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    surrogate = opkit.load(options.run)
    operator = surrogate.model.operator
    assert isinstance(operator, PODGP), "give a run of pod-gp"
    inputs, true = batch(surrogate.samples(options.data, "test"))
    predicted = surrogate.predict(inputs)
    std = forward.deviation(surrogate.model, inputs)
    outputs = surrogate.model.outputs
    mean = outputs.decode(operator.mean.float()[None])
    best = outputs.decode(operator.projected(outputs.encode(true)))
    print(
        f"{len(true)} test samples, {operator.x.shape[1]} training samples, "
        f"{len(operator.modes)} windows, {operator.modes.shape[1]} modes in each with "
        f"{operator.energy.min():.5f} of the variance, "
        f"widening {', '.join(f'{w:.2f}' for w in operator.widening.tolist())}"
    )
    print("| output | error | mean | modes alone | within 95 % |")
    print("|---|---|---|---|---|")
    for c, name in enumerate(channels(surrogate)):
        errors = [relative(u[:, c], true[:, c]) for u in (predicted, mean, best)]
        inside = (predicted[:, c] - true[:, c]).abs() <= NORMAL * std[:, c] + 1e-30
        print(
            f"| {name} | "
            + " | ".join(f"{100 * error.mean():.2f} %" for error in errors)
            + f" | {100 * inside.double().mean():.1f} % |"
        )
    judge(surrogate, inputs, true, predicted)
    for size in (1, options.batch):
        part = inputs.rows(torch.arange(size) % len(true))
        print(
            f"batch {size}: {1e3 * seconds(surrogate, part) / size:.2f} ms per sample"
        )


def batch(samples: FieldDataset) -> tuple[Inputs, Tensor]:
    """All samples at once."""
    items = [samples[i] for i in range(len(samples))]
    fields = {role: torch.stack([item[role] for item in items]) for role in items[0]}
    return Inputs.of(fields), fields["outputs"]


def channels(surrogate: Surrogate) -> list[str]:
    """Name of each output channel."""
    return [v.name for v in surrogate.config.outputs for _ in range(v.channels)]


def relative(u: Tensor, true: Tensor) -> Tensor:
    """Relative L2 error of each sample."""
    return (u - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1)


def judge(
    surrogate: Surrogate, inputs: Inputs, true: Tensor, predicted: Tensor
) -> None:
    """Print how wide the bounds are, and how often they hold."""
    calibration = surrogate.calibration
    assert calibration is not None
    error = torch.stack(
        [relative(predicted[:, c], true[:, c]) for c in range(true.shape[1])]
    ).mean(0)
    verdict = surrogate.checker.judge(inputs, predicted, without_solver=True)
    spread = calibration.checks["spread"].score(Pairs(inputs, predicted)).values
    print(
        f"error {100 * error.mean():.2f} %, "
        f"bound {100 * verdict.error_bound.mean():.2f} %, "
        f"held by {100 * np.mean(error.numpy() <= verdict.error_bound):.0f} %; "
        f"powers {calibration.record.powers}; correlation of log error and log spread "
        f"{np.corrcoef(np.log(error.numpy()), np.log(spread))[0, 1]:.2f}"
    )


def seconds(surrogate: Surrogate, inputs: Inputs, repeats: int = 20) -> float:
    """Shortest time of a prediction."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        surrogate.predict(inputs)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
