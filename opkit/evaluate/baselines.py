"""Predictors of what evolves in time that need no training to speak of.

``persistence`` keeps the last frame it is given. ``linear`` is one step u' = A u + b on
the leading POD modes of the training frames, by least squares (dynamic mode
decomposition; Schmid, J. Fluid Mech. 656, 2010), repeated as often as there are frames.
A surrogate that is no better than one of them, or than the mean, has learnt nothing
that it is needed for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opkit.datasets.field_dataset import FieldDataset, channel_names
from opkit.datasets.modes import inputs_on_fields, starts_at_initial
from opkit.errors import DataError
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.record import Score

WORDS = {
    "mean": "the mean predictor",
    "persistence": "persistence (the last given frame, kept)",
    "linear": "a linear model of one step",
}
"""Baselines by predictor, as flags name them."""
MODES = 32
"""Most POD modes of the linear model."""
FRAMES = 1000
"""Most training frames that it is fitted to."""
NUMBERS = 2**24
"""Most numbers in them."""
Guess = Callable[[Inputs, Tensor], Tensor]
"""Maps inputs to outputs; of the true outputs only the shape may be used."""


def flags(rows: Sequence[Score]) -> tuple[str, ...]:
    """Say which baselines a surrogate is no better than, at its training resolution.

    Args:
        rows: of `opkit.evaluate.scores.table`.
    """
    if not rows:
        return ()
    own, *others = rows
    return tuple(
        f"not better than {WORDS[row.predictor]}: relative L2 {own.relative_l2:.3g} "
        f"against {row.relative_l2:.3g}"
        for row in others
        if row.predictor in WORDS
        and row.resolution == own.resolution
        and not own.relative_l2 < row.relative_l2
    )


def in_time(samples: FieldDataset, train: FieldDataset | None) -> dict[str, Guess]:
    """Return the baselines in time by name; none where nothing evolves.

    Args:
        samples: to be predicted.
        train: training samples on the same grid, for the linear model; none without.
    """
    frames = _Frames.of(samples)
    if frames is None:
        return {}
    guesses: dict[str, Guess] = {"persistence": frames.persistence}
    if train is not None and frames.even:
        model = fit(frames.trajectories(train))
        guesses["linear"] = lambda inputs, like: frames.outputs(
            model(frames.last(inputs), frames.count(like))
        )
    return guesses


def frames_of(samples: FieldDataset) -> Tensor:
    """Return trajectories (sample, frame, channel, *space), of some samples.

    Raises:
        DataError: nothing evolves in them.
    """
    frames = _Frames.of(samples)
    if frames is None:
        raise DataError("no output of these data evolves from an earlier state")
    return frames.trajectories(samples)


def fit(trajectories: Tensor) -> Callable[[Tensor, int], Tensor]:
    """Fit z' = A z + b to steps of trajectories, z the coordinates in POD modes.

    Args:
        trajectories: (sample, frame, channel, *space).

    Returns:
        Maps (batch, channel, *space) and a number of steps to the frames after it.
    """
    u = trajectories.double()
    mean = u.mean((0, 1))
    scale = (u - mean).square().mean((0, 1, *range(3, u.ndim))).sqrt()
    scale = torch.where(scale > 0, scale, 1).view(-1, *(1,) * (u.ndim - 3))
    x = ((u - mean) / scale).flatten(2)
    pairs = x.shape[0] * (x.shape[1] - 1)
    # four steps a mode at least, and no modes within rounding
    basis = _leading(x.flatten(0, 1), min(MODES, max(pairs // 4, 1)))
    z = x @ basis
    one = torch.ones(pairs, 1, dtype=z.dtype)
    before = torch.cat([z[:, :-1].flatten(0, 1), one], 1)
    step = torch.linalg.lstsq(before, z[:, 1:].flatten(0, 1), driver="gelsd").solution

    def roll(last: Tensor, steps: int) -> Tensor:
        state = ((last.double() - mean) / scale).flatten(1) @ basis
        states = []
        for _ in range(steps):
            state = state @ step[:-1] + step[-1]
            states.append(state)
        shape = (len(last), steps, *mean.shape)
        fields = (torch.stack(states, 1) @ basis.T).view(shape)
        return (mean + scale * fields).to(last.dtype)

    return roll


def _leading(x: Tensor, count: int) -> Tensor:
    """Return at most ``count`` leading right singular vectors of (row, number)."""
    wide = x.shape[0] < x.shape[1]
    square, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    square, vectors = square[-count:].flip(0), vectors[:, -count:].flip(1)
    good = square > 1e-10 * square[0].clamp_min(1e-300)
    square, vectors = square[good], vectors[:, good]
    basis: Tensor = x.T @ vectors / square.sqrt() if wide else vectors
    return basis


@dataclass(frozen=True)
class _Frames:
    """Inputs and outputs of a mode as frames (batch, frame, channel, *space).

    Args:
        kind: name of the mode.
        channels: of the inputs, that are the initial state; empty where frames are
            given.
        even: whether one step leads from the given frame to the first predicted one.
    """

    kind: str
    channels: tuple[int, ...]
    even: bool

    @classmethod
    def of(cls, samples: FieldDataset) -> _Frames | None:
        """Return how samples are frames; None where they hold no earlier state."""
        header, mode = samples.header, samples.mode
        if mode.history:
            return cls(mode.name, (), True)
        where: Mapping[str, list[int]] = {}
        count = 0
        for variable in inputs_on_fields(header):
            own = len(channel_names(variable))
            where = {**where, variable.name: list(range(count, count + own))}
            count += own
        names = [f"initial_{v.name}" for v in header.outputs]
        if not all(name in where for name in names) or header.mesh is not None:
            return None
        chosen = tuple(k for name in names for k in where[name])
        if len(chosen) != len(samples.output_channels):
            return None
        even = mode.name == "map" or starts_at_initial(header)
        return cls(mode.name, chosen, even)

    def last(self, inputs: Inputs) -> Tensor:
        """Return the frame before the first predicted one."""
        fields = inputs.fields
        if not self.channels:
            return fields[:, -1]
        state = fields[:, list(self.channels)]
        return state[:, :, 0] if self.kind == "space-time" else state

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return outputs as frames."""
        if self.kind == "space-time":
            return outputs.transpose(1, 2)
        return outputs[:, None] if self.channels else outputs

    def outputs(self, frames: Tensor) -> Tensor:
        """Return frames as outputs: `predicted` undone."""
        if self.kind == "space-time":
            return frames.transpose(1, 2)
        return frames[:, 0] if self.channels else frames

    def count(self, outputs: Tensor) -> int:
        """Return how many frames outputs are."""
        return self.predicted(outputs).shape[1]

    def persistence(self, inputs: Inputs, like: Tensor) -> Tensor:
        """Keep the last given frame."""
        still = self.last(inputs)[:, None]
        return self.outputs(still.expand(-1, self.count(like), *still.shape[2:]))

    def trajectories(self, train: FieldDataset) -> Tensor:
        """Return the last given frame and the frames after it, of some samples."""
        first = train[0]["outputs"]
        length = self.count(first[None]) + 1
        most = min(FRAMES, NUMBERS * length // first.nelement())
        count = min(len(train), max(most // length, 2))
        rows = np.linspace(0, len(train) - 1, count).round().astype(int)
        items = [train[int(i)] for i in rows]
        inputs = Inputs(torch.stack([item["inputs"] for item in items]))
        outputs = torch.stack([item["outputs"] for item in items])
        return torch.cat([self.last(inputs)[:, None], self.predicted(outputs)], 1)
