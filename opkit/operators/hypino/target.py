"""The small network whose weights HyPINO writes: u(x, y) with exact derivatives.

    F = [sin 2π s_k x, cos 2π s_k x, x],  s_k = 0.1 · 2^k, k = 0 … 4, of x and of y
    U = tanh(F W_u + b_u),  V = tanh(F W_v + b_v),  z = tanh(F W_0 + b_0)
    repeated:  z ← tanh((U z + V (1 - z)) W_i + b_i)
    u = z W + b

tanh may be replaced by the sine (Sitzmann et al., NeurIPS 2020, arXiv:2006.09661) or
the Cauchy activation (Li, Xia, Zhang, arXiv:2409.19221).

Jets (`opkit.pde.jets`) are carried through the layers in closed form, so a loss made of
u_xx needs one backward pass and nothing is differentiated twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from opkit.pde import jets

ActivationName = Literal["tanh", "sine", "cauchy"]
JETS: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "tanh": jets.tanh,
    "sine": lambda u: jets.sine_cosine(u)[0],
    "cauchy": jets.cauchy,
}
VALUES: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sine": torch.sin,
    "cauchy": lambda u: (u + 1) / (u.square() + 1),
}
FREQUENCIES = tuple(0.1 * 2.0**k for k in range(5))
FEATURES = 2 * 2 * len(FREQUENCIES) + 2


@dataclass(frozen=True)
class TargetShape:
    """Width and depth of the target network.

    Args:
        width: of every hidden layer.
        layers: gated layers after the first.
        activation: of all hidden layers.
    """

    width: int = 32
    layers: int = 3
    activation: ActivationName = "tanh"

    @property
    def weights(self) -> list[tuple[int, int]]:
        """Shapes of the weight matrices: W_u, W_v, W_0, the gated ones, the last."""
        first = [(FEATURES, self.width)] * 3
        return [*first, *[(self.width, self.width)] * self.layers, (self.width, 1)]

    @property
    def size(self) -> int:
        """Number of generated parameters."""
        return sum((rows + 1) * columns for rows, columns in self.weights)


@dataclass(frozen=True)
class Target:
    """A batch of target networks, one per problem.

    Args:
        weights: matrices (batch, in, out) in the order of `TargetShape.weights`.
        biases: vectors (batch, out) in the same order.
        activation: of all hidden layers.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: ActivationName = "tanh"

    def tensors(self) -> list[Tensor]:
        """All weights, then all biases."""
        return [*self.weights, *self.biases]

    @staticmethod
    def from_tensors(
        tensors: list[Tensor], activation: ActivationName = "tanh"
    ) -> Target:
        """Inverse of `tensors`."""
        half = len(tensors) // 2
        return Target(tuple(tensors[:half]), tuple(tensors[half:]), activation)

    def jet(self, points: Tensor) -> Tensor:
        """Jets (5, batch, point) of u at points (batch, point, 2)."""
        features, bend = _feature_jets(points), JETS[self.activation]
        u, v, z = (bend(self._affine(features, k)) for k in range(3))
        gap = u - v
        for k in range(3, len(self.weights) - 1):
            z = bend(self._affine(v + jets.product(gap, z), k))
        return self._affine(z, len(self.weights) - 1)[..., 0]

    def value(self, points: Tensor) -> Tensor:
        """Values (batch, point) at points (batch, point, 2), without derivatives."""
        phase, bend = _phases(points), VALUES[self.activation]
        features = torch.cat([phase.sin(), phase.cos(), points], -1)
        first = [
            bend(features @ self.weights[k] + self.biases[k][:, None]) for k in range(3)
        ]
        u, v, z = first
        for k in range(3, len(self.weights) - 1):
            z = bend((v + (u - v) * z) @ self.weights[k] + self.biases[k][:, None])
        return (z @ self.weights[-1] + self.biases[-1][:, None])[..., 0]

    def _affine(self, jet: Tensor, k: int) -> Tensor:
        out = jet @ self.weights[k]
        return torch.cat([out[:1] + self.biases[k][:, None], out[1:]])


def _phases(points: Tensor) -> Tensor:
    waves = 2 * torch.pi * points.new_tensor(FREQUENCIES)
    return (points[..., None] * waves).flatten(-2)


def _feature_jets(points: Tensor) -> Tensor:
    place = jets.coordinates(points)
    waves = 2 * torch.pi * points.new_tensor(FREQUENCIES)
    sine, cosine = jets.sine_cosine((place[..., None] * waves).flatten(-2))
    return torch.cat([sine, cosine, place], -1)


def random_target(
    shape: TargetShape, batch: int, generator: torch.Generator, like: Tensor
) -> Target:
    """Glorot-initialised target networks: what generated weights are compared with."""
    weights = [
        torch.randn(batch, *rows, generator=generator, dtype=like.dtype).to(like.device)
        * (2 / sum(rows)) ** 0.5
        for rows in shape.weights
    ]
    biases = [like.new_zeros(batch, columns) for _, columns in shape.weights]
    return Target(tuple(weights), tuple(biases), shape.activation)
