"""Whether an input resembles the training inputs: Mahalanobis distance of features.

    d(x) = |L⁻¹ (φ(x) - μ)| / √m,   Σ = L Lᵀ,

φ(x) in R^m: for each channel mean, log standard deviation, smallest and largest value,
and on grids the logarithms of the energies in octaves of wavenumber; μ and Σ their mean
and covariance over training inputs. d is about 1 for training inputs. Σ is shrunk
towards its diagonal by m / (m + n) and has a floor, so that a feature that never varied
(the two values of a two-phase medium) is strange as soon as it changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from opkit.base.fourier import rfftn

OCTAVES = 6
FLOOR = 1e-2
"""Smallest standard deviation of a feature, in units of the channel's own."""


def features(fields: Tensor, spectral: bool) -> Tensor:
    """Summarise fields in a few numbers.

    Args:
        fields: (batch, channel, *space), each channel normalised over the training
            samples.
        spectral: whether the points are a grid, so that Fourier modes mean something.

    Returns:
        (batch, feature), float64.
    """
    x = fields.double()
    flat = x.flatten(2)
    mean = flat.mean(-1)
    std = (flat - mean[..., None]).square().mean(-1).sqrt()
    found = [mean, (std + FLOOR).log(), flat.amin(-1), flat.amax(-1)]
    if spectral:
        found += _octaves(x - mean.view(*mean.shape, *(1,) * (x.ndim - 2)))
    return torch.cat(found, 1)


def _octaves(x: Tensor) -> list[Tensor]:
    """Log energies in 2^(j-1) < |k| <= 2^j; those above the grid's largest are none."""
    axes = tuple(range(2, x.ndim))
    sizes = x.shape[2:]
    power = rfftn(x, axes, norm="forward").abs().square()
    k2 = torch.zeros((), dtype=x.dtype, device=x.device)
    for axis, n in enumerate(sizes):
        last = axis + 1 == len(sizes)
        k = torch.fft.rfftfreq(n, 1 / n) if last else torch.fft.fftfreq(n, 1 / n)
        shape = [1] * len(sizes)
        shape[axis] = len(k)
        k2 = k2 + k.to(x).square().view(shape)
    octave = k2.clamp(min=1).sqrt().log2().ceil().clamp(max=OCTAVES - 1)
    bands = []
    for j in range(min(OCTAVES, int(octave.max()) + 1)):
        energy = (power * (octave == j)).flatten(2).sum(-1)
        bands.append((energy + FLOOR**2 / OCTAVES).log())
    return bands


@dataclass(frozen=True)
class Novelty:
    """Mean and whitening of the features of training inputs.

    Args:
        mean: μ (feature,).
        whiten: L⁻¹ (feature, feature).
    """

    mean: Tensor
    whiten: Tensor

    @classmethod
    def fit(cls, found: Tensor) -> Novelty:
        """Fit to the features (sample, feature) of training inputs."""
        count, size = found.shape
        mean = found.mean(0)
        centred = found - mean
        sigma = centred.T @ centred / max(count - 1, 1)
        share = size / (size + count)
        sigma = (1 - share) * sigma + share * torch.diag(sigma.diagonal())
        sigma = sigma + FLOOR**2 * torch.eye(size, dtype=sigma.dtype)
        lower = torch.linalg.cholesky(sigma)
        eye = torch.eye(size, dtype=sigma.dtype)
        return cls(mean, torch.linalg.solve_triangular(lower, eye, upper=False))

    def score(self, found: Tensor) -> Tensor:
        """Return d (batch,) of features (batch, feature)."""
        white = (found - self.mean.to(found)) @ self.whiten.to(found).T
        distance: Tensor = torch.linalg.vector_norm(white, dim=1)
        return distance / math.sqrt(found.shape[1])
