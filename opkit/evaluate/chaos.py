"""What a surrogate of a chaotic case keeps after its forecasts are no longer right.

Trajectories of a chaotic case cannot be followed for long, so beside the horizon, in
Lyapunov times, long rollouts are held against the data as climates: the distribution of
values and of energy, the mean spectrum, and how fast small errors grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.datasets.modes import need_steps
from opkit.errors import NonFiniteError, OpkitInputError
from opkit.metrics.chaos import Climate, Lyapunov, climate, lyapunov_exponents
from opkit.operators.inputs import Inputs
from opkit.surrogate.surrogate import Surrogate

MAX_POINTS = 2**24
"""Most points (samples times frames times grid) that are rolled out."""
LONGER = 10
"""Frames of the rollouts, in frames of the data."""
TRAJECTORIES = 32
"""Most trajectories of a rollout."""
_SETTLING, _AVERAGED = 5, 20
"""Lyapunov times before, and of, the mean growth of errors."""


@dataclass(frozen=True)
class Chaos:
    """Statistics of rollouts that are longer than the data.

    Args:
        lyapunov_time: of the case, in the units of the data.
        steps: length of the rollouts; the first frames, as many as the data have, are
            left out of the climate.
        climate: of the rollouts against the data.
        sampling: of one half of the data's trajectories against the other: what is
            due to the number of states alone.
        largest: largest root mean square of a frame, relative to the data's largest.
        growth: the surrogate's largest Lyapunov exponent; None where it blows up.
    """

    lyapunov_time: float
    steps: int
    climate: Climate
    sampling: Climate
    largest: float
    growth: Lyapunov | None

    @property
    def bounded(self) -> bool:
        """Whether no frame is more than twice as large as those of the data."""
        return self.largest <= 2.0


def chaos(
    surrogate: Surrogate, data: Path, split: str = "test", steps: int | None = None
) -> Chaos:
    """Roll out far beyond the data and compare climates.

    Args:
        surrogate: autoregressive, of a case with a Lyapunov time.
        data: with trajectories on the attractor.
        split: of the data.
        steps: frames; ten times those of the data where None.

    Raises:
        OpkitInputError: the surrogate is not autoregressive, the case has no Lyapunov
            time, there is one trajectory only, or steps are fewer than the data's.
        DataError: the file has no such split.
    """
    need_steps(surrogate.config.recipe.arrangement)
    time = surrogate.config.case.get("lyapunov_time")
    if time is None:
        raise OpkitInputError(
            f"case {surrogate.config.case.get('name')} names no Lyapunov time: set "
            "lyapunov_time in it where it is chaotic"
        )
    samples = surrogate.samples(data, split)
    frames = len(samples[0]["outputs"])
    length = LONGER * frames if steps is None else steps
    if length <= frames:
        raise OpkitInputError(
            f"{length} steps: the data have {frames}: give more, for a climate"
        )
    room = MAX_POINTS // (samples[0]["outputs"][0].nelement() * length)
    count = max(min(len(samples), TRAJECTORIES, room), 1)
    if len(samples) < 2:
        raise OpkitInputError(
            f"{data}: {len(samples)} trajectory in {split}: a climate needs two or more"
        )
    items = [samples[i] for i in range(count)]
    inputs = Inputs.of(
        {role: torch.stack([item[role] for item in items]) for role in items[0]}
    )
    rolled = surrogate.predict(inputs, length)
    truth = torch.stack([samples[i]["outputs"] for i in range(len(samples))])
    half = len(truth) // 2
    return Chaos(
        lyapunov_time=float(time),
        steps=length,
        climate=climate(rolled[:, frames:].flatten(0, 1), truth.flatten(0, 1)),
        sampling=climate(truth[:half].flatten(0, 1), truth[half:].flatten(0, 1)),
        largest=_size(rolled) / _size(truth),
        growth=_growth(surrogate, inputs, float(time)),
    )


def _size(frames: Tensor) -> float:
    """Return the largest root mean square of a frame; infinite for NaN."""
    size = float(frames.double().square().flatten(2).mean(2).sqrt().max())
    return size if np.isfinite(size) else float("inf")


def _growth(surrogate: Surrogate, inputs: Inputs, time: float) -> Lyapunov | None:
    """Return the surrogate's largest exponent, of the step of its window of frames."""
    interval = surrogate.config.time_step or 1.0
    others = inputs._replace(fields=inputs.fields[:, :0])
    lines = inputs.batch

    def step(windows: Array) -> Array:
        fields = torch.as_tensor(windows, dtype=torch.float32)
        copies = len(fields) // lines
        batch = others.each(lambda part: part.repeat_interleave(copies, 0))
        frame = surrogate.predict(batch._replace(fields=fields), 1)
        ahead = torch.cat([fields[:, 1:], frame], 1)
        return ahead.double().numpy()

    try:
        return lyapunov_exponents(
            step,
            inputs.fields.double().numpy(),
            interval,
            steps=max(int(_AVERAGED * time / interval), 8),
            transient=int(_SETTLING * time / interval),
            disturbance=1e-3,  # float32
        )
    except NonFiniteError:
        return None
