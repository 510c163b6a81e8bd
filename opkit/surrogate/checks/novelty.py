"""Whether an input resembles the training inputs: Mahalanobis distance of features.

    d(x) = |L⁻¹ (φ(x) - μ)| / √m,   Σ = L Lᵀ,

φ(x) in R^m: for each channel mean, log standard deviation, smallest and largest value,
and on grids and of functions of time the logarithms of the energies in octaves of
wavenumber; of samples with meshes of their own also size, spread and place of the mesh;
μ and Σ their mean and covariance over training inputs. d is about 1 for training
inputs. Σ is shrunk towards its diagonal by m / (m + n) and has a floor, so that a
feature that never varied (the two values of a two-phase medium) is strange as soon as
it changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import torch
from torch import Tensor

from opkit.base.fourier import rfftn
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.normalise import Normaliser
from opkit.surrogate.checks.interface import (
    Context,
    Pairs,
    Reading,
    refuse_names,
    refuse_shape,
)

Power = Callable[[Tensor], Tensor]
"""Fields (batch, channel, *space) to |û_k|² of `torch.fft.rfftn`, divided by the number
of points squared."""
OCTAVES = 6
FLOOR = 1e-2
"""Smallest standard deviation of a feature, in units of the channel's own."""


def power_by_fft(x: Tensor) -> Tensor:
    """Return |û_k|² over half of the wavenumbers of real fields."""
    axes = tuple(range(2, x.ndim))
    return rfftn(x, axes, norm="forward").abs().square()


def features(fields: Tensor, spectral: bool, power: Power = power_by_fft) -> Tensor:
    """Summarise fields in a few numbers.

    Args:
        fields: (batch, channel, *space), each channel normalised over the training
            samples.
        spectral: whether the points are a grid, so that Fourier modes mean something.
        power: how energies of modes are computed.

    Returns:
        (batch, feature), float64.
    """
    x = fields.double()
    flat = x.flatten(2)
    mean = flat.mean(-1)
    std = (flat - mean[..., None]).square().mean(-1).sqrt()
    parts = [mean, (std + FLOOR).log(), flat.amin(-1), flat.amax(-1)]
    if spectral:
        parts += _octaves(x - mean.view(*mean.shape, *(1,) * (x.ndim - 2)), power)
    return torch.cat(parts, 1)


def _octaves(x: Tensor, power: Power) -> list[Tensor]:
    """Log energies in 2^(j-1) < |k| <= 2^j; those above the grid's largest are none."""
    energies = power(x)
    bands = []
    for j in _bands(tuple(x.shape[2:])):
        energy = (energies * j.to(x)).flatten(2).sum(-1)
        bands.append((energy + FLOOR**2 / OCTAVES).log())
    return bands


@lru_cache(maxsize=32)
def _bands(sizes: tuple[int, ...]) -> list[Tensor]:
    """Which of the modes of `Power` belong to each octave, as numbers 0 and 1."""
    k2 = torch.zeros((), dtype=torch.float64)
    for axis, n in enumerate(sizes):
        last = axis + 1 == len(sizes)
        k = torch.fft.rfftfreq(n, 1 / n) if last else torch.fft.fftfreq(n, 1 / n)
        shape = [1] * len(sizes)
        shape[axis] = len(k)
        k2 = k2 + k.double().square().view(shape)
    octave = k2.clamp(min=1).sqrt().log2().ceil().clamp(max=OCTAVES - 1)
    return [(octave == j).double() for j in range(min(OCTAVES, int(octave.max()) + 1))]


@dataclass(frozen=True)
class Novelty:
    """Mean and whitening of the features of training inputs.

    Args:
        context: its normalisers scale the inputs before features are taken.
        mean: μ (feature,).
        whiten: L⁻¹ (feature, feature).
    """

    name: ClassVar[str] = "novelty"
    of_input: ClassVar[bool] = True
    powers: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)
    context: Context
    mean: Tensor
    whiten: Tensor

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        """Take mean and covariance of the features of training inputs."""
        phi = torch.cat([input_features(context, p.inputs) for p in samples])
        return cls(context, *whitening(phi))

    def score(self, pairs: Pairs) -> Reading:
        """Return d (batch,)."""
        return Reading(self.measure(pairs.inputs).numpy())

    def measure(self, inputs: Inputs, power: Power = power_by_fft) -> Tensor:
        """Return d (batch,), float64."""
        phi = input_features(self.context, inputs, power)
        return distance(phi, self.mean, self.whiten)

    def describe(self) -> str:
        """Say what is measured."""
        return f"Mahalanobis distance of {len(self.mean)} features of the input"

    def tensors(self) -> dict[str, Tensor]:
        """Return μ and L⁻¹."""
        return {"mean": self.mean, "whiten": self.whiten}

    @classmethod
    def from_tensors(cls, context: Context, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild."""
        refuse_names(tensors, ("mean", "whiten"), f"{cls.name}.")
        size = tensors["mean"].nelement()
        refuse_shape(tensors["mean"], (size,), f"{cls.name}.mean")
        refuse_shape(tensors["whiten"], (size, size), f"{cls.name}.whiten")
        return cls(context, tensors["mean"], tensors["whiten"])


def whitening(phi: Tensor) -> tuple[Tensor, Tensor]:
    """Return μ (feature,) and L⁻¹ (feature, feature) of features (sample, feature)."""
    count, size = phi.shape
    mean = phi.mean(0)
    centred = phi - mean
    sigma = centred.T @ centred / max(count - 1, 1)
    share = size / (size + count)
    sigma = (1 - share) * sigma + share * torch.diag(sigma.diagonal())
    sigma = sigma + FLOOR**2 * torch.eye(size, dtype=sigma.dtype)
    lower = torch.linalg.cholesky(sigma)
    eye = torch.eye(size, dtype=sigma.dtype)
    return mean, torch.linalg.solve_triangular(lower, eye, upper=False)


def distance(phi: Tensor, mean: Tensor, whiten: Tensor) -> Tensor:
    """Return d (batch,) of features (batch, feature)."""
    white = (phi - mean.to(phi)) @ whiten.to(phi).T
    length: Tensor = torch.linalg.vector_norm(white, dim=1)
    return length / math.sqrt(phi.shape[1])


def input_features(
    context: Context, inputs: Inputs, power: Power = power_by_fft
) -> Tensor:
    """Return features (batch, feature) of inputs.

    Of several frames those of the last, with functions of time as the first step of a
    rollout is given them: by their values.
    """
    model = context.model
    spectral = context.config.shape.spectral
    fields = inputs.fields[:, -1] if model.history else inputs.fields
    parts = []
    if fields.shape[1]:
        unit = _unit(fields.detach().cpu(), model.inputs)
        parts.append(features(unit, spectral, power))
    if inputs.parameters is not None and model.numbers is not None:
        even = model.numbers.even(inputs.parameters.detach()).cpu()
        # what has no logarithm is as far away as float32 can say
        parts.append(_unit(even.nan_to_num(1e30, 1e30, -1e30), model.numbers).double())
    if inputs.static is not None and model.static is not None:
        static = _unit(inputs.static.detach().cpu(), model.static)
        parts.append(features(static, spectral, power))
    if inputs.series is not None and model.series is not None:
        first = inputs.at_step(0, model.history) if model.history else inputs
        functions = _unit(first.need("series").detach().cpu(), model.series)
        if model.history:
            parts.append(functions.double().flatten(1))
        else:
            parts.append(features(functions, True, power))
    if inputs.boundary is not None:  # in physical units
        parts.append(features(inputs.boundary.detach().cpu(), spectral=False))
    if inputs.points is not None and (context.config.shape.ragged or not parts):
        places = inputs.points.detach().cpu().double()
        parts.append(_outline(places.flatten(1, -2)))
    return torch.cat(parts, 1)


def _outline(points: Tensor) -> Tensor:
    """Summarise where points (batch, node, d) lie: size, spread, middle over size.

    Of samples whose nodes follow from their numbers, these say it all.
    """
    low, high = points.amin(1), points.amax(1)
    size = (high - low).amax(1, keepdim=True).clamp_min(1e-300)
    spread = (points - points.mean(1, keepdim=True)).square().mean(1).sqrt() / size
    return torch.cat([size.log(), (spread + FLOOR).log(), (low + high) / size], 1)


def _unit(x: Tensor, normaliser: Normaliser) -> Tensor:
    """Scale channels so that the training values fill [-1, 1]."""
    shape = (-1, *(1,) * (x.ndim - 2))
    low, high = (
        v.detach().cpu().to(x).view(shape) for v in (normaliser.low, normaliser.high)
    )
    half = (high - low) / 2
    half = torch.where(half > 0, half, half.new_ones(()))
    return (x - (high + low) / 2) / half
