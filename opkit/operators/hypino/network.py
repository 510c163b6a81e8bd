"""HyPINO: a network that reads a linear PDE and writes the network that solves it.

A Swin encoder reads the five grids of `opkit.pde.batch.Problems` and is conditioned on
the coefficients; learned queries gather one token for every tensor of the target
network; one small head a tensor emits it. Bischof et al., NeurIPS 2025,
arXiv:2509.05117.

Two departures from the published model: heads start at the scale of Glorot's rule, so
that untrained solutions are of order 1; and `magnitude_invariant` adds the
parametrisation of Gonzalez Ortiz et al., ICLR 2024, arXiv:2304.07645.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.hypino.encoder import Encoder
from opkit.operators.hypino.target import (
    FEATURES,
    ActivationName,
    Target,
    TargetShape,
)
from opkit.operators.interface import Options
from opkit.pde.batch import Problems

Size = Annotated[int, Field(ge=1)]


class HyPINOOptions(Options):
    """Architecture of HyPINO; the defaults are the published ones.

    Args:
        resolution: of the grids it reads.
        channels: of the first stage.
        depths: blocks of each stage.
        heads: attention heads of each stage, in the encoder and in the pooling.
        window: of the shifted-window attention.
        mlp_ratio: hidden over outer channels in the blocks.
        coefficient_features: features made of the coefficients.
        statistics_features: features made of the grids' statistics.
        target_width: of the generated network.
        target_layers: gated layers of the generated network.
        target_activation: of the generated network.
        head_hidden: largest hidden layer of a head; None leaves the published sizes.
        head_groups: cap on the groups of the heads' norms.
        magnitude_invariant: constant-norm condition, and θ = θ_0 + Δθ with θ_0 learned.
        published_spares: hold the 74,891 numbers of the published checkpoint that no
            output depends on, frozen.
    """

    resolution: Annotated[int, Field(ge=8, multiple_of=4)] = 224
    channels: Annotated[int, Field(ge=4, multiple_of=4)] = 128
    depths: tuple[Size, ...] = (2, 2, 10, 2)
    heads: tuple[Size, ...] = (4, 8, 8, 16)
    window: Annotated[int, Field(ge=2)] = 7
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    coefficient_features: Size = 96
    statistics_features: Size = 32
    target_width: Annotated[int, Field(ge=4, multiple_of=4)] = 32
    target_layers: Size = 3
    target_activation: ActivationName = "tanh"
    head_hidden: Annotated[int, Field(ge=16, multiple_of=16)] | None = None
    head_groups: Size = 16
    magnitude_invariant: bool = False
    published_spares: bool = False

    @model_validator(mode="after")
    def _sizes_divide(self) -> HyPINOOptions:
        if len(self.depths) != len(self.heads):
            raise ValueError("depths and heads: give one of each for every stage")
        for k, heads in enumerate(self.heads):
            tokens = self.resolution / 4 / 2**k
            window = min(self.window, tokens)
            if tokens % 1 or tokens % window:
                raise ValueError(
                    f"stage {k + 1} has {tokens:g} tokens a side, which windows of "
                    f"{self.window} do not tile: choose another resolution or window"
                )
            if self.channels * 2**k % heads:
                raise ValueError(
                    f"stage {k + 1}: {heads} heads do not divide "
                    f"{self.channels * 2**k} channels"
                )
        return self


PRESETS: dict[Literal["tiny", "base", "published"], HyPINOOptions] = {
    "tiny": HyPINOOptions(
        resolution=32,
        channels=48,
        depths=(2, 2),
        heads=(3, 6),
        window=4,
        coefficient_features=48,
        statistics_features=16,
        target_width=24,
        head_hidden=64,
        magnitude_invariant=True,
    ),
    "base": HyPINOOptions(
        resolution=112,
        channels=64,
        depths=(2, 6, 2),
        heads=(4, 8, 8),
        head_hidden=256,
        magnitude_invariant=True,
    ),
    "published": HyPINOOptions(published_spares=True),
}


class AttentionPooling(nn.Module):
    """One token for each learned query, by attention over a stage's tokens."""

    def __init__(self, channels: int, heads: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, channels))
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, token, channel) to (batch, query, channel)."""
        queries = self.queries.expand(len(tokens), -1, -1)
        if not len(tokens):  # not every fused kernel takes an empty batch
            return queries
        out: Tensor = self.attention(queries, tokens, tokens, need_weights=False)[0]
        return out


class HyPINO(nn.Module):
    """From problems to `Target` networks that solve them.

    Args:
        options: the architecture, such as ``PRESETS["tiny"]``.
    """

    def __init__(self, options: HyPINOOptions) -> None:
        super().__init__()
        self.options = options
        self.shape = TargetShape(
            options.target_width, options.target_layers, options.target_activation
        )
        self.encoder = Encoder(
            options.resolution,
            options.channels,
            options.depths,
            options.heads,
            options.window,
            options.mlp_ratio,
            options.coefficient_features,
            options.statistics_features,
            options.magnitude_invariant,
        )
        tensors = [*self.shape.weights, *((n,) for _, n in self.shape.weights)]
        self.pools = nn.ModuleList(
            AttentionPooling(channels, heads, len(tensors))
            for channels, heads in zip(
                self.encoder.channels, options.heads, strict=True
            )
        )
        pooled = sum(self.encoder.channels)
        self.heads = nn.ModuleList(
            _head(pooled, shape, self.shape, options) for shape in tensors
        )
        self.base = nn.ParameterList()
        if options.magnitude_invariant:
            for shape, head in zip(tensors, self.heads, strict=True):
                start = torch.zeros(shape)
                if len(shape) == 2:
                    nn.init.normal_(start, std=(2 / sum(shape)) ** 0.5)
                self.base.append(nn.Parameter(start))
                with torch.no_grad():
                    for parameter in list(head.parameters())[-2:]:
                        parameter.mul_(0.1)
        self.spares = _published_spares() if options.published_spares else None

    def forward(self, coefficients: Tensor, grids: Tensor) -> list[Tensor]:
        """Write the tensors of one target network a problem, as `Target.tensors`.

        Args:
            coefficients: (batch, 5).
            grids: (batch, 5, y, x) at the options' resolution.

        Raises:
            OpkitInputError: grids of another resolution.
        """
        n = self.options.resolution
        if grids.shape[1:] != (5, n, n):
            raise OpkitInputError(
                f"HyPINO was built for grids (5, {n}, {n}), these are "
                f"{tuple(grids.shape[1:])}: draw the problem at resolution {n}"
            )
        scales = self.encoder(coefficients, grids)
        tokens = torch.cat(
            [pool(scale) for pool, scale in zip(self.pools, scales, strict=True)], -1
        )
        parameters = []
        for k, head in enumerate(self.heads):
            tensor = head(tokens[:, k])
            if k < len(self.shape.weights):
                tensor = tensor.unflatten(1, self.shape.weights[k])
            parameters.append(tensor + self.base[k] if len(self.base) else tensor)
        return parameters

    def solve(self, problems: Problems) -> Target:
        """Write the networks of a batch of problems."""
        tensors = self(problems.coefficients, problems.grids)
        return Target.from_tensors(tensors, self.shape.activation)


def _head(
    pooled: int, shape: tuple[int, ...], target: TargetShape, options: HyPINOOptions
) -> nn.Sequential:
    """Linear, GELU, GroupNorm, Linear, scaled so that the tensor starts à la Glorot."""
    size = shape[0] * shape[-1] if len(shape) == 2 else shape[0]
    groups, hidden = 4, 2 * size
    if len(shape) == 2 and shape[0] == target.width:
        groups, hidden = (16, pooled) if shape[1] > 1 else (1, 2 * size)
    elif shape == (1,):
        groups, hidden = 1, 32
    if options.head_hidden is not None:
        hidden = min(hidden, options.head_hidden)
    groups = min(groups, options.head_groups)
    if hidden % groups:
        raise OpkitInputError(
            f"head_groups {options.head_groups}: {groups} groups do not divide the "
            f"{hidden} hidden channels of a head; choose a divisor"
        )
    last = nn.Linear(hidden, size)
    std = (2 / sum(shape)) ** 0.5 if len(shape) == 2 else 0.1
    nn.init.normal_(last.weight, std=std / hidden**0.5)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(pooled, hidden), nn.GELU(), nn.GroupNorm(groups, hidden), last
    )


def _published_spares() -> nn.ModuleDict:
    """What the published model holds beside its network: maps, patch embedding, norm.

    Counted with the model and stored with its weights; no output depends on them.
    """
    spares = nn.ModuleDict(
        {
            "in_map": nn.Linear(FEATURES, 32),
            "out_map": nn.Linear(32, 1),
            "patch_embedding": nn.Conv2d(35, 128, 4, stride=4),
            "patch_norm": nn.LayerNorm(128),
            "last_norm": nn.LayerNorm(1024),
        }
    )
    spares["frequencies"] = nn.ParameterList([torch.zeros(2, 5)])
    return spares.requires_grad_(False)
