"""Attention along and from a boundary curve, linear in the data it carries.

Scores come from geometry alone. Data go through as values, so that a layer is
    v ← v + Σ_k A(geometry)_k W v_k,
and nothing depends on where along the curve the numbering starts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opkit.operators.layers.boundary_curve import Curve


def face_features(curve: Curve) -> Tensor:
    """(batch, face, 7): kind, own normal, normals of the faces before and after."""
    n = curve.normals
    around = [n, n.roll(1, dims=1), n.roll(-1, dims=1)]
    return torch.cat([curve.kind[..., None], *around], dim=-1)


def pair_features(to: Tensor, curve: Curve, length: float) -> Tensor:
    """How faces are seen from points: (batch, point, face, 3).

    With r the vector from point to face and n the face's outward normal: log|r|²,
    cos(n, r) and log(cos(n, r)⁺), |r| kept above ``length``. The half plane's Poisson
    kernel cos(n, r) / (π |r|) is the exponential of the third less half the first.

    Args:
        to: (batch, point, 2) x and y.
        curve: faces.
        length: below which distances are not told apart.
    """
    r = curve.places[:, None] - to[:, :, None]
    squared = r.square().sum(-1) + length**2
    cosine = (r * curve.normals[:, None]).sum(-1) / squared.sqrt()
    return torch.stack([squared.log(), cosine, (cosine.relu() + 0.05).log()], dim=-1)


class Heads(nn.Module):
    """Attention weights (batch, head, query, face) from geometry.

    Args:
        query: channels of what asks.
        key: channels of the faces.
        heads: number of heads.
        width: channels of a head's scalar product.
    """

    def __init__(self, query: int, key: int, heads: int, width: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(query, heads * width)
        self.key = nn.Linear(key, heads * width, bias=False)
        self.pair = nn.Linear(3, heads, bias=False)
        with torch.no_grad():  # start near the half plane's Poisson kernel
            sharpness = torch.linspace(0.5, 2.0, heads)[:, None]
            self.pair.weight.copy_(sharpness * torch.tensor([-0.5, 0.0, 1.0]))

    def forward(self, query: Tensor, key: Tensor, pairs: Tensor) -> Tensor:
        """Softmax over faces of scalar products plus what pairs say."""
        q = self.query(query).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.key(key).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights: Tensor = (scores + self.pair(pairs).permute(0, 3, 1, 2)).softmax(-1)
        return weights


class Values(nn.Module):
    """Carry values with attention weights: one matrix a head, summed over heads."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        scale = (channels * heads) ** -0.5
        self.weight = nn.Parameter(scale * torch.randn(heads, channels, channels))

    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        """(batch, head, query, face) and (batch, face, channel) to (.., query, ..)."""
        moved = torch.einsum("bkc,hcd->bhkd", values, self.weight)
        return (weights @ moved).sum(dim=1)


class CurveLayer(nn.Module):
    """One Transformer layer on a curve: geometry as usual, data linearly beside it."""

    def __init__(self, geometry: int, channels: int, heads: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(geometry)
        self.attention = Heads(geometry, geometry, heads)
        self.mix = Values(geometry, heads)
        self.after = nn.LayerNorm(geometry)
        self.feed = nn.Sequential(
            nn.Linear(geometry, 2 * geometry),
            nn.GELU(),
            nn.Linear(2 * geometry, geometry),
        )
        self.carry = Values(channels, heads)
        self.along = nn.Conv1d(
            channels, channels, 3, padding=1, padding_mode="circular", bias=False
        )

    def forward(self, g: Tensor, v: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Geometry (batch, face, geometry), data (batch, face, channel)."""
        normed = self.before(g)
        weights = self.attention(normed, normed, pairs)
        g = g + self.mix(weights, normed)
        g = g + self.feed(self.after(g))
        v = v + self.carry(weights, v) + self.along(v.transpose(1, 2)).transpose(1, 2)
        return g, v


class CurveEncoder(nn.Module):
    """Boundary data to tokens: g and ∂u/∂n lifted apart, then Transformer layers.

    Args:
        geometry: channels of the geometry of a face.
        channels: channels of its data.
        layers: Transformer layers.
        heads: of each.
    """

    def __init__(self, geometry: int, channels: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(7, geometry), nn.SiLU(), nn.Linear(geometry, geometry)
        )
        self.lift = nn.Parameter(torch.randn(2, channels))
        self.layers = nn.ModuleList(
            CurveLayer(geometry, channels, heads) for _ in range(layers)
        )

    def forward(self, curve: Curve, value: Tensor, h: float) -> tuple[Tensor, Tensor]:
        """Geometry and data tokens (batch, face, channels); data linear in value."""
        g = self.embed(face_features(curve))
        v = value[..., None] * torch.lerp(
            self.lift[0], self.lift[1], curve.kind[..., None]
        )
        pairs = pair_features(curve.places, curve, h)
        for layer in self.layers:
            g, v = layer(g, v, pairs)
        return g, v


class Reach(nn.Module):
    """Boundary data at any point: Σ_k A(point, face k) W v_k, a learnt kernel."""

    def __init__(self, geometry: int, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = Heads(geometry, geometry, heads)
        self.carry = Values(channels, heads)

    def forward(
        self, at: Tensor, geometry: Tensor, g: Tensor, v: Tensor, curve: Curve, h: float
    ) -> Tensor:
        """Return (batch, point, channel).

        Args:
            at: (batch, point, 2) positions.
            geometry: (batch, point, geometry) what is known of the points.
            g: geometry tokens of the faces.
            v: data tokens of the faces.
            curve: the faces.
            h: size of the cells around the points.
        """
        pairs = pair_features(at, curve, 0.25 * h)
        carried: Tensor = self.carry(self.attention(geometry, g, pairs), v)
        return carried
