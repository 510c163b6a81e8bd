"""IPHI: a learned map from physical to computational coordinates (Geo-FNO).

Reference: Li et al., Geo-FNO, JMLR 24 (2023), arXiv:2207.05209.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class IPHI(nn.Module):
    """ξ = x + x ⊙ N(x, code), with N a network on x in polar coordinates and octaves.

    Args:
        n_code: length of a code of the whole geometry; 0 for none.
        width: of the features; the hidden layers are four times as wide.
    """

    centre: Tensor
    octaves: Tensor

    def __init__(self, n_code: int = 0, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Linear(4, width)
        # width from the layer, and 4 features x (sine, cosine) x width/4 octaves
        n_features = 3 * width
        self.code = nn.Linear(n_code, width) if n_code else None
        self.no_code = None if n_code else nn.Linear(n_features, 4 * width)
        self.network = nn.Sequential(
            nn.Linear(4 * width, 4 * width),
            nn.Tanh(),
            nn.Linear(4 * width, 4 * width),
            nn.Tanh(),
            nn.Linear(4 * width, 4 * width),
            nn.Tanh(),
            nn.Linear(4 * width, 2),
        )
        octaves = math.pi * 2.0 ** torch.arange(width // 4)
        self.register_buffer("octaves", octaves, persistent=False)
        # off the origin, where the angle of a point would not be differentiable
        self.register_buffer("centre", torch.full((2,), 1e-4), persistent=False)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Map points (batch, point, 2) to the computational domain, (batch, point, 2).

        Args:
            x: points, scaled to about the unit square.
            code: (batch, n_code), if the map was built for one.
        """
        dx, dy = (x - self.centre).unbind(-1)
        polar = torch.stack([torch.atan2(dy, dx), torch.hypot(dx, dy)], dim=-1)
        places = torch.cat([x, polar], dim=-1)
        phases = (places[..., None] * self.octaves).flatten(-2)
        features = [self.features(places), phases.sin(), phases.cos()]
        if self.no_code is not None:
            hidden = self.no_code(torch.cat(features, dim=-1))
        else:
            assert self.code is not None and code is not None
            encoded = self.code(code)[:, None].expand(-1, x.shape[1], -1)
            hidden = torch.cat([encoded, *features], dim=-1)
        warped: Tensor = x + x * self.network(hidden)
        return warped
