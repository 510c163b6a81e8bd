"""How long a surrogate of a time-dependent case can be trusted, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.datasets.modes import need_steps
from opkit.metrics import functional
from opkit.operators.inputs import Inputs
from opkit.surrogate.surrogate import Surrogate

MAX_POINTS = 2**24
"""Most points (samples times frames times grid) that are rolled out."""


@dataclass(frozen=True)
class Rollouts:
    """Errors of every step, means over trajectories; lists have one number a step.

    Args:
        times: of the predicted frames, in the units of the data.
        relative_l2: relative L2 error.
        persistence: the same of the last given frame, kept.
        spectral_error: distance of the energy spectra, in decades.
        mean_drift: |<p> - <t>| / rms(t), the error of the conserved mean.
        energy_drift: <p²> / <t²> - 1, of kinetic energy, enstrophy or whatever the
            square of the output is; like the drift a mean over channels.
        threshold: relative L2 error up to which a prediction counts as useful.
        horizons: time up to which each trajectory stays below it; infinite where it
            does to the end.
    """

    times: NDArray[np.float64]
    relative_l2: list[float]
    persistence: list[float]
    spectral_error: list[float]
    mean_drift: list[float]
    energy_drift: list[float]
    threshold: float
    horizons: NDArray[np.float64]

    @property
    def horizon(self) -> float:
        """Median over trajectories of the time up to which they stay useful."""
        return float(np.median(self.horizons))


def rollouts(
    surrogate: Surrogate, data: Path, split: str = "test", threshold: float = 0.2
) -> Rollouts:
    """Roll out all trajectories of a split and compare them with the file's.

    Raises:
        OpkitInputError: the surrogate is not autoregressive.
        DataError: the file has no such split.
    """
    need_steps(surrogate.config.recipe.arrangement)
    samples = surrogate.samples(data, split)
    points = samples[0]["outputs"].nelement()
    count = max(min(len(samples), MAX_POINTS // points), 1)
    predictions, targets, frames = [], [], []
    for i in range(count):
        item = samples[i]
        one = Inputs.of({role: tensor[None] for role, tensor in item.items()})
        predictions.append(surrogate.predict(one, len(item["outputs"]))[0])
        targets.append(item["outputs"])
        frames.append(item["inputs"][-1])
    p, t, last = (torch.stack(fields) for fields in (predictions, targets, frames))
    return compare(p, t, last, samples.times, threshold)


def compare(
    prediction: Tensor,
    target: Tensor,
    last: Tensor,
    times: NDArray[np.float64],
    threshold: float,
) -> Rollouts:
    """Compare trajectories (sample, step, channel, *space).

    Args:
        prediction: rolled out.
        target: what happened.
        last: (sample, channel, *space), the last frame that was given.
        times: of the steps.
        threshold: see `Rollouts`.
    """
    shape = target.shape[:2]
    p, t = prediction.flatten(0, 1), target.flatten(0, 1)
    still = last[:, None].expand_as(target).flatten(0, 1)
    error = functional.relative_l2(p, t).view(shape)
    # channels may have different units: ratios first, then their mean
    p_points, t_points = p.flatten(2).double(), t.flatten(2).double()
    square = t_points.square().mean(2)
    square = torch.where(square > 0, square, functional.EPS**2)
    energy = (p_points.square().mean(2) / square - 1).mean(1)
    drift = ((p_points.mean(2) - t_points.mean(2)).abs() / square.sqrt()).mean(1)

    def per_step(values: Tensor) -> list[float]:
        result: list[float] = values.double().view(shape).mean(0).tolist()
        return result

    # a trajectory that has left does not come back
    useful = (error <= threshold).cummin(1).values.sum(1).numpy()
    ends = np.concatenate([[0.0], times[:-1], [np.inf]])
    return Rollouts(
        times=times,
        relative_l2=per_step(error),
        persistence=per_step(functional.relative_l2(still, t)),
        spectral_error=per_step(functional.spectral_error(p, t)),
        mean_drift=per_step(drift),
        energy_drift=per_step(energy),
        threshold=threshold,
        horizons=ends[useful],
    )
