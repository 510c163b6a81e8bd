"""The reading half of HyPINO: grids and coefficients of a PDE to tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opkit.operators.hypino.swin import SwinStage

STATISTICS = 3 * 4


class FourierFeatures(nn.Module):
    """[sin 2π s_k x, cos 2π s_k x, x] with s_k = 0.1 · 2^k, k = 0 … 4, along axis 1.

    Args:
        channels: size of axis 1.
        keep: whether x itself is appended. Without it the features have constant norm.
    """

    def __init__(self, channels: int, keep: bool = True) -> None:
        super().__init__()
        self.keep = keep
        bands = 0.1 * 2.0 ** torch.arange(5.0)
        # Fixed, and stored as the published model stores them: one row a channel.
        self.frequencies = nn.Parameter(bands.repeat(channels, 1), requires_grad=False)
        self.out_channels = channels * (10 + keep)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, *space) to (batch, out_channel, *space)."""
        waves = 2 * torch.pi * self.frequencies
        waves = waves.reshape(*waves.shape, *(1,) * (x.ndim - 2))
        phase: Tensor = (x.unsqueeze(2) * waves).flatten(1, 2)
        parts = [phase.sin(), phase.cos()]
        joined: Tensor = torch.cat([*parts, x] if self.keep else parts, 1)
        return joined


class FiLM(nn.Module):
    """γ(c) x + β(c): a scale and a shift of every channel, linear in the condition."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.gamma = nn.Linear(condition, channels)
        self.beta = nn.Linear(condition, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulate (batch, y, x, channel) by (batch, condition)."""
        scale, shift = self.gamma(condition), self.beta(condition)
        modulated: Tensor = scale[:, None, None] * x + shift[:, None, None]
        return modulated


class GridEmbedding(nn.Module):
    """Masks, values and source at resolution n to tokens at resolution n / 4.

    With stems of two stride-2 convolutions: concat(b1 + b2 · values, source), a fixed
    positional code, a 1 x 1 convolution and a group norm.

    Args:
        channels: of the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.value_features = FourierFeatures(2)
        self.source_features = FourierFeatures(1)
        self.mask_shift = _stem(2, half, nn.GELU())
        self.mask_scale = _stem(2, half, nn.Tanh())
        self.values = _stem(self.value_features.out_channels, half, nn.GELU())
        self.source = _stem(self.source_features.out_channels, half, nn.GELU())
        self.project = nn.Conv2d(channels, channels, 1)
        self.norm = nn.GroupNorm(max(channels // 32, 1), channels)

    def forward(self, grids: Tensor) -> Tensor:
        """Map (batch, 5, y, x) to (batch, y / 4, x / 4, channel)."""
        masks = grids[:, :2]
        values = self.values(self.value_features(grids[:, 2:4]))
        boundary = self.mask_shift(masks) + self.mask_scale(masks) * values
        source = self.source(self.source_features(grids[:, 4:]))
        tokens = torch.cat([boundary, source], 1)
        tokens = self.norm(self.project(tokens + _positions(tokens)))
        out: Tensor = tokens.permute(0, 2, 3, 1)
        return out


class Encoder(nn.Module):
    """Swin stages over the grids, each followed by FiLM on coefficients and statistics.

    Args:
        resolution: of the input grids, a multiple of 4.
        channels: of the first stage; every later one has twice as many.
        depths: blocks of each stage.
        heads: of each stage.
        window: of the attention.
        mlp_ratio: of the blocks.
        coefficient_features: condition features made of the coefficients.
        statistics_features: and of mean, maximum, minimum and spread of the grids.
        constant_norm: encode the condition by sines and cosines alone.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        window: int,
        mlp_ratio: float,
        coefficient_features: int,
        statistics_features: int,
        constant_norm: bool,
    ) -> None:
        super().__init__()
        self.embedding = GridEmbedding(channels)
        self.coefficients = _condition(5, coefficient_features, not constant_norm)
        self.statistics = _condition(STATISTICS, statistics_features, False)
        self.channels = [channels * 2**k for k in range(len(depths))]
        self.stages = nn.ModuleList(
            SwinStage(
                width,
                heads[k],
                depth,
                resolution // 4 // 2**k,
                window,
                k > 0,
                mlp_ratio,
            )
            for k, (width, depth) in enumerate(zip(self.channels, depths, strict=True))
        )
        condition = coefficient_features + statistics_features
        self.films = nn.ModuleList(FiLM(width, condition) for width in self.channels)

    def forward(self, coefficients: Tensor, grids: Tensor) -> list[Tensor]:
        """Tokens (batch, token, channel) after each stage.

        Args:
            coefficients: (batch, 5).
            grids: (batch, 5, y, x), the source last.
        """
        # The source spans decades: sign(f) log(1 + |f|) before everything else.
        source = grids[:, 4:].sign() * grids[:, 4:].abs().log1p()
        grids = torch.cat([grids[:, :4], source], 1)
        values = grids[:, 2:].flatten(2)
        mean = values.mean(2)
        std = values.std(2) if len(values) else mean  # torch warns of none's
        statistics = torch.cat([mean, values.amax(2), values.amin(2), std], 1)
        condition = torch.cat(
            [self.coefficients(coefficients), self.statistics(statistics)], 1
        )
        tokens = self.embedding(grids)
        scales = []
        for stage, film in zip(self.stages, self.films, strict=True):
            tokens = film(stage(tokens), condition)
            scales.append(tokens.flatten(1, 2))
        return scales


def _stem(channels: int, out: int, last: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(out, out, 3, stride=2, padding=1),
        last,
    )


def _condition(channels: int, features: int, keep: bool) -> nn.Sequential:
    fourier = FourierFeatures(channels, keep)
    return nn.Sequential(fourier, nn.Linear(fourier.out_channels, features), nn.GELU())


def _positions(tokens: Tensor) -> Tensor:
    """Sines and cosines of row and column numbers, half of the channels each."""
    _, channels, rows, columns = tokens.shape
    half = channels // 2
    rates = torch.exp(
        torch.arange(0, half, 2, device=tokens.device) * (-9.210340371976184 / half)
    )
    code = tokens.new_zeros(channels, rows, columns)
    for first, count, axis in ((0, rows, 1), (half, columns, 2)):
        place = torch.arange(count, device=tokens.device) * rates[:, None]
        place = place.unsqueeze(3 - axis).to(tokens.dtype)
        code[first : first + half : 2] = place.sin()
        code[first + 1 : first + half : 2] = place.cos()
    return code
