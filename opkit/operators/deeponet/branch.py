"""Branch networks: from an input function at fixed sensors to coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.layers.convolutions import convolution, mlp
from opkit.operators.layers.grids import boundaries, resample
from opkit.operators.layers.sandwich import LipschitzMLP
from opkit.operators.shapes import FINER


class Branch(nn.Module):
    """Coefficients b_k of an input function, from its values at a grid of sensors.

    An input on another grid is interpolated linearly onto the sensors first, so that
    the coefficients converge as the grid is refined.

    Args:
        in_channels: channels of the input.
        sensors: grid of sensors.
        periodic: which axes wrap around.
        kind: ``"mlp"`` on all values; ``"cnn"``: three convolutions of stride 2 before
            it; or ``"sandwich"``: a perceptron with a Lipschitz constant that is set.
        widths: hidden widths of the multilayer perceptron.
        bound: that constant, per root mean square of the input.
        n_coefficients: how many numbers come out.
        parameters: numbers per sample, values of functions of time among them, which
            join what the perceptron gets.
    """

    def __init__(
        self,
        in_channels: int,
        sensors: Sequence[int],
        periodic: Sequence[bool],
        kind: str,
        widths: Sequence[int],
        bound: float,
        n_coefficients: int,
        parameters: int = 0,
    ) -> None:
        super().__init__()
        self.sensors, self.periodic = tuple(sensors), tuple(periodic)
        channels, shape = in_channels, list(sensors)
        layers: list[nn.Module] = []
        if kind == "cnn" and in_channels:
            modes = boundaries(periodic)
            for source, target in pairwise((in_channels, 32, 64, 64)):
                layers += [convolution(source, target, 3, modes, stride=2), nn.GELU()]
                channels, shape = target, [math.ceil(n / 2) for n in shape]
        sizes = [channels * math.prod(shape) + parameters, *widths, n_coefficients]
        last = LipschitzMLP(sizes, bound) if kind == "sandwich" else mlp(sizes)
        self.network = nn.Sequential(*layers, nn.Flatten(), last)

    def forward(self, x: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Map (batch, channel, *space) and (batch, number) to (batch, coefficient)."""
        *convolutions, perceptron = self.network
        if x.shape[1]:
            x = resample(x, self.sensors, self.periodic)
            for layer in convolutions:
                x = layer(x)
        else:  # numbers alone
            x = x.flatten(1)
        if numbers is not None:
            x = torch.cat([x, numbers], 1)
        coefficients: Tensor = perceptron(x)
        return coefficients

    def gain(self, shape: tuple[int, ...]) -> float:
        """Return the Lipschitz constant for inputs on a grid; inf if none is known.

        Args:
            shape: of the grid.
        """
        last = self.network[-1]
        if not isinstance(last, LipschitzMLP) or shape != self.sensors:
            return math.inf
        return last.bound


def sensor_grid(
    shape: tuple[int, ...], sensors: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the grid of sensors: the data's own, unless the options name another.

    Raises:
        OpkitInputError: a wrong number of axes, or more sensors than points.
    """
    if sensors is None:
        return shape
    if len(sensors) != len(shape):
        raise OpkitInputError(
            f"sensors {list(sensors)}: give one number for each of the "
            f"{len(shape)} space axes, such as --set model.sensors={list(shape)}"
        )
    if any(m > n for m, n in zip(sensors, shape, strict=True)):
        raise OpkitInputError(
            f"sensors {list(sensors)} exceed the grid {list(shape)}: {FINER} or at "
            f"most --set model.sensors={list(shape)}"
        )
    return sensors
