"""Normalisation as part of the model: physical units in, physical units out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Normaliser(nn.Module):
    """Per-channel standardisation z = (x - mean) / std, as a module with buffers.

    Args:
        channels: number of channels.
        axis: position of the channel axis counted from the front, 1 for
            (batch, channel, *space).
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("low", torch.zeros(channels))
        self.register_buffer("high", torch.zeros(channels))

    def fit(self, batches: Iterable[Tensor]) -> Normaliser:
        """Set mean, std, and range from batches (batch, channel, *space).

        Moments are merged in float64 (Chan, Golub, LeVeque 1983): the result does not
        depend on how the data are cut into batches, beyond rounding. A constant
        channel gets std 1.
        """
        count, mean, square = 0, torch.zeros(()), torch.zeros(())
        low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        for batch in batches:
            x = batch.transpose(0, 1).flatten(1).double()
            n, m = x.shape[1], x.mean(1)
            s = (x - m[:, None]).square().sum(1)
            delta, total = m - mean, count + n
            mean = mean + delta * (n / total)
            square = square + s + delta.square() * (count * n / total)
            count = total
            low, high = torch.minimum(low, x.amin(1)), torch.maximum(high, x.amax(1))
        if not count:
            raise ValueError("no samples to fit a normaliser on")
        std = (square / count).sqrt()
        # below float32 resolution of the mean a spread is rounding, not signal
        constant = std <= 1e-6 * mean.abs() + torch.finfo(torch.float32).tiny
        self.mean.copy_(mean)
        self.std.copy_(torch.where(constant, torch.ones_like(std), std))
        self.low.copy_(low)
        self.high.copy_(high)
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Return (x - mean) / std for x of shape (batch, channel, *space)."""
        return (x - _along(self.mean, x)) / _along(self.std, x)

    def decode(self, z: Tensor) -> Tensor:
        """Return z std + mean, the inverse of `encode`."""
        return z * _along(self.std, z) + _along(self.mean, z)


def _along(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.ndim - 2))


class PhysicalModel(nn.Module):
    """An operator between its two normalisers: u = decode(operator(encode(a))).

    Args:
        operator: maps normalised (batch, in_channel, *space) fields.
        inputs: normaliser of the input channels.
        outputs: normaliser of the output channels.
        history: frames the operator sees; 0 where it is not autoregressive.
    """

    def __init__(
        self,
        operator: nn.Module,
        inputs: Normaliser,
        outputs: Normaliser,
        history: int = 0,
    ) -> None:
        super().__init__()
        self.operator = operator
        self.inputs = inputs
        self.outputs = outputs
        self.history = history

    def forward(self, x: Tensor, steps: int = 1, detach: bool = False) -> Tensor:
        """Map physical inputs to physical outputs.

        Without history: (batch, in_channel, *space) -> (batch, out_channel, *space).
        With history: (batch, history, channel, *space) -> (batch, steps, channel,
        *space), each frame from the ``history`` frames before it.

        Args:
            x: input fields.
            steps: frames to roll out, with history.
            detach: cut the gradient between frames, so that each step learns from the
                states the model itself makes (pushforward; Brandstetter et al. 2022).
        """
        if not self.history:
            return self.outputs.decode(self.operator(self.inputs.encode(x)))
        frames, made = list(x.unbind(1)), []
        for _ in range(steps):
            window = torch.stack(frames[-self.history :], 1)
            encoded = self.inputs.encode(window.flatten(0, 1))
            stacked = encoded.view(len(x), -1, *x.shape[3:])
            after = self.outputs.decode(self.operator(stacked))
            made.append(after)
            frames.append(after.detach() if detach else after)
        return torch.stack(made, 1)
