"""Functional auto-encoder: few numbers for a field, whatever points it is seen at.

    z = L Σ_i w_i b(x_i) u(x_i) + g(Σ_i w_i κ(b(x_i), u(x_i)))
    û(x) = b(x)ᵀ M z + h(b(x), z)

b: waves on the unit box (`opkit.priors.waves`), w_i: share of the box that belongs to
point i, so that sums over points are integrals: the code does not depend on the
points, as far as they resolve the waves. L and M begin as the principal components of
the samples, g and h as zero, and all of them are trained:

    E [ |û - u|² / E|u - Eu|² + β |z|² ]

``kl`` makes it variational (VANO): z = μ + s ε with a learnt s, and kl · KL(N(μ, s²) ||
N(0, I)) is added; the squared norm is that of the points' weights, which stays finite
as points are refined because each field is compared with itself at the same points.

Sources: Seidman et al., Variational Autoencoding Neural Operators, ICML 2023,
arXiv:2302.10351; Bunker et al., Autoencoders in Function Space, JMLR 26 (2025).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.layers.convolutions import mlp
from opkit.priors.samples import refuse_not_finite
from opkit.priors.waves import shares, waves

SMALLEST = 3e-3
"""Least size of a component, relative to the largest, that a code of size 1 means."""
MASKS = 64
"""Sets of points that a training draws from."""


@dataclass(frozen=True)
class Training:
    """How an auto-encoder is trained.

    Args:
        steps: of Adam, each with ``batch`` samples.
        rate: largest step size; it falls to zero along a cosine.
        batch: samples of a step.
        least: smallest share of the points that a field is encoded from; 1 for all.
            Every second step encodes from a random part, and always decodes at all.
        penalty: β.
        kl: weight of the divergence; 0 for an auto-encoder that is not variational.
        seed: of weights, batches, parts and noise.
    """

    steps: int = 2000
    rate: float = 1e-3
    batch: int = 32
    least: float = 1.0
    penalty: float = 0.0
    kl: float = 0.0
    seed: int = 0


class FunctionalAutoencoder(nn.Module):
    """Codes of fields on the unit box.

    Args:
        latents: numbers of a code.
        periodic: which axes of the box are closed; as many as it has.
        channels: of the fields.
        count: largest wave number of an axis.
        width: of the networks.
    """

    mean: Tensor
    scale: Tensor
    centre: Tensor
    whiten: Tensor
    lost: Tensor

    def __init__(
        self,
        latents: int,
        periodic: Sequence[bool],
        channels: int = 1,
        count: int = 16,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.periodic, self.count, self.channels = tuple(periodic), count, channels
        size = math.prod(1 + (2 * count if closed else count) for closed in periodic)
        self.latents, self.size = latents, size
        whole = size * channels
        self.into = nn.Parameter(torch.zeros(whole, latents))
        self.out = nn.Parameter(torch.zeros(latents, whole))
        self.seen = mlp([size + channels, width, width])
        self.code = mlp([width, width, latents])
        self.spread = nn.Linear(width, latents)
        self.at = nn.Linear(size, width)
        self.by = nn.Linear(latents, width, bias=False)
        self.answer = mlp([width, width, width, channels])
        for network in (self.code, self.answer, self.spread):
            *_, weight, bias = network.parameters()
            nn.init.zeros_(weight)
            nn.init.zeros_(bias)
        buffers = {
            "mean": torch.zeros(whole),
            "scale": torch.ones(channels),
            "centre": torch.zeros(latents),
            "whiten": torch.eye(latents),
            "lost": torch.ones(()),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    @classmethod
    def fit(
        cls,
        values: Tensor,
        points: Tensor,
        latents: int,
        periodic: Sequence[bool],
        training: Training = Training(),
        weights: Tensor | None = None,
        count: int = 16,
        width: int = 64,
    ) -> Self:
        """Train on fields that are all known at the same points.

        Args:
            values: (sample, point) or (sample, point, channel).
            points: (point, d) in the unit box.
            latents: numbers of a code.
            periodic: which axes are closed.
            training: how.
            weights: (point,), lengths, areas or volumes; None for `shares`.
            count: largest wave number of an axis.
            width: of the networks.

        Raises:
            OpkitInputError: shapes that do not fit, or values that are not finite.
        """
        values = _fields(values, points)
        if len(values) < 2:
            raise OpkitInputError("values of one sample: give two or more")
        generator = torch.Generator().manual_seed(training.seed)
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            model = cls(latents, periodic, values.shape[-1], count, width)
        w = _shares(points, periodic, weights)
        model._begin(values.double(), points.double(), w.double())
        model._train(values.float(), points.float(), w.float(), training, generator)
        model._look(values.float(), points.float(), w.float())
        return model

    def encode(
        self, values: Tensor, points: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return codes (batch, latent).

        Args:
            values: (batch, point) or (batch, point, channel).
            points: (point, d).
            weights: (point,), of any sum; 0 leaves a point out. None for `shares`.

        Raises:
            OpkitInputError: shapes that do not fit, or values that are not finite.
        """
        values = _fields(values, points, self.channels)
        w = _shares(points, self.periodic, weights).float()
        return self._encode(values.float(), self._waves(points), w)[0]

    def decode(self, code: Tensor, points: Tensor) -> Tensor:
        """Return fields (batch, point, channel) at points (point, d)."""
        return self._decode(code, self._waves(points))

    def forward(self, values: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """Return fields (batch, point, channel), encoded and decoded."""
        return self.decode(self.encode(values, points, weights), points)

    def fill(
        self, values: Tensor, points: Tensor, noise: float = 0.0, steps: int = 20
    ) -> Tensor:
        """Return the most probable codes (batch, latent) of fields seen at few points.

        Least squares of û(x_i) - u_i against the noise and what codes cannot say, with
        a normal law of codes, by Levenberg-Marquardt from the encoder's answer and from
        the mean code; the better one is returned.

        Args:
            values: (batch, point) or (batch, point, channel).
            points: (point, d).
            noise: standard deviation of the errors of the values.
            steps: of the iteration.

        Raises:
            OpkitInputError: shapes that do not fit, or values that are not finite.
        """
        values = _fields(values, points, self.channels).float()
        known = self._waves(points)
        sigma = (noise**2 + self.lost * self.scale.square()).sqrt()

        def residual(code: Tensor, target: Tensor) -> Tensor:
            off = (self._decode(code[None], known)[0] - target) / sigma
            return torch.cat([off.flatten(), self.whiten @ (code - self.centre)])

        rows = torch.func.vmap(residual)
        jacobian = torch.func.vmap(torch.func.jacfwd(residual))

        def descend(code: Tensor) -> tuple[Tensor, Tensor]:
            cost = rows(code, values).square().sum(1)
            damping = torch.full_like(cost, 1e-2)
            eye = torch.eye(self.latents)
            for _ in range(steps):
                off, slope = rows(code, values), jacobian(code, values)
                square = slope.mT @ slope
                size = square.diagonal(dim1=1, dim2=2)
                damped = square + damping[:, None, None] * eye * size[:, None]
                step = torch.linalg.solve(damped, slope.mT @ off[..., None])[..., 0]
                trial = code - step
                worth = rows(trial, values).square().sum(1)
                better = worth < cost
                code = torch.where(better[:, None], trial, code)
                cost = torch.where(better, worth, cost)
                damping = torch.where(better, damping / 5, damping * 5)
            return code, cost

        with torch.no_grad():
            code = self.encode(values, points)
            code, cost = descend(code)
            other, worth = descend(self.centre.expand_as(code))
            code = torch.where((worth < cost)[:, None], other, code)
        return code

    def novelty(
        self, values: Tensor, points: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return how unlike the training samples fields are (batch,); 1 is usual.

            ½ |C^(-1/2) (z - z̄)|² / latents + ½ |û - u|² / E|û - u|²

        Args:
            values: (batch, point) or (batch, point, channel).
            points: (point, d).
            weights: (point,); None for `shares`.

        Raises:
            OpkitInputError: shapes that do not fit, or values that are not finite.
        """
        values = _fields(values, points, self.channels)
        w = _shares(points, self.periodic, weights).float()
        with torch.no_grad():
            code = self.encode(values, points, w)
            off = self.decode(code, points) - values
            lost = _mean((off / self.scale).square(), w)
            far = ((code - self.centre) @ self.whiten.T).square().mean(1)
        return (far + lost / self.lost) / 2

    def draw(self, count: int, points: Tensor, seed: int = 0) -> Tensor:
        """Return new fields (count, point, channel): codes from their normal law."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, self.latents, generator=generator)
        code = self.centre + torch.linalg.solve(self.whiten, noise.T).T
        with torch.no_grad():
            return self.decode(code, points)

    def _waves(self, points: Tensor) -> Tensor:
        return waves(points.double(), self.count, self.periodic).float()

    def _encode(
        self, values: Tensor, known: Tensor, w: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return codes, and the logarithms of their variances."""
        even = values / self.scale
        sums = torch.einsum("p,pk,bpc->bkc", w, known, even).flatten(1)
        pair = torch.cat([known.expand(len(even), -1, -1), even], -1)
        seen = torch.einsum("p,bph->bh", w, self.seen(pair))
        return (sums - self.mean) @ self.into + self.code(seen), self.spread(seen)

    def _decode(self, code: Tensor, known: Tensor) -> Tensor:
        coefficients = (self.mean + code @ self.out).view(-1, self.size, self.channels)
        linear = torch.einsum("pk,bkc->bpc", known, coefficients)
        bent = self.answer(F.gelu(self.at(known) + self.by(code)[:, None]))
        field: Tensor = (linear + bent) * self.scale
        return field

    def _begin(self, values: Tensor, points: Tensor, w: Tensor) -> None:
        """Take the principal components of the samples for the linear parts."""
        known = waves(points, self.count, self.periodic)
        spread = values - values.mean(0)
        scale = _mean(spread.square().mean(0, keepdim=True), w, channels=True)[0].sqrt()
        scale = torch.where(scale > 0, scale, 1)
        sums = torch.einsum("p,pk,bpc->bkc", w, known, values / scale).flatten(1)
        mean = sums.mean(0)
        _, size, basis = torch.linalg.svd(sums - mean, full_matrices=False)
        kept = min(self.latents, len(size))
        size = size[:kept] / math.sqrt(len(sums))
        with torch.no_grad():
            self.scale.copy_(scale)
            self.mean.copy_(mean)
            # a component that hardly varies is no code of size one: places of points
            # that were not trained on would decide it
            size = size.clamp(min=SMALLEST * float(size[0].clamp(min=1e-30)))
            self.out[:kept] = (size[:, None] * basis[:kept]).float()
            self.into[:, :kept] = (basis[:kept].T / size).float()

    def _train(
        self,
        values: Tensor,
        points: Tensor,
        w: Tensor,
        training: Training,
        generator: torch.Generator,
    ) -> None:
        known = self._waves(points)
        parts = self._parts(points, training, generator)
        search = torch.optim.Adam(self.parameters(), training.rate)
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(
            search, max(training.steps, 1)
        )
        for step in range(training.steps):
            rows = torch.randint(len(values), (training.batch,), generator=generator)
            batch = values[rows]
            if parts and step % 2:
                chosen, share = parts[step // 2 % len(parts)]
                code, spread = self._encode(batch[:, chosen], known[chosen], share)
            else:
                code, spread = self._encode(batch, known, w)
            loss = training.penalty * code.square().sum(1).mean()
            if training.kl:
                divergence = (code.square() + spread.exp() - 1 - spread).sum(1) / 2
                loss = loss + training.kl * divergence.mean()
                noise = torch.randn(code.shape, generator=generator)
                code = code + (spread / 2).exp() * noise
            off = (self._decode(code, known) - batch) / self.scale
            loss = loss + _mean(off.square(), w).mean()
            search.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            search.step()
            plan.step()

    def _parts(
        self, points: Tensor, training: Training, generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Parts of the points, each with the shares of its points."""
        parts = []
        for _ in range(MASKS if training.least < 1 else 0):
            part = torch.rand((), generator=generator).item()
            part = training.least + (1 - training.least) * part
            order = torch.randperm(len(points), generator=generator)
            chosen = order[: max(round(part * len(points)), 1)]
            parts.append((chosen, shares(points[chosen], self.periodic)))
        return parts

    def _look(self, values: Tensor, points: Tensor, w: Tensor) -> None:
        """Keep the law of the codes of the samples, and what codes do not say."""
        with torch.no_grad():
            code = torch.cat(
                [self.encode(v, points, w) for v in torch.split(values, 64)]
            )
            lost = [
                _mean(((self(v, points, w) - v) / self.scale).square(), w)
                for v in torch.split(values, 64)
            ]
            centred = (code - code.mean(0)).double()
            square = centred.T @ centred / len(code)
            small = 1e-6 * square.diagonal().mean().clamp(min=1e-12)
            lower = torch.linalg.cholesky(square + small * torch.eye(self.latents))
            eye = torch.eye(self.latents, dtype=lower.dtype)
            self.centre.copy_(code.mean(0))
            self.whiten.copy_(torch.linalg.solve_triangular(lower, eye, upper=False))
            self.lost.copy_(torch.cat(lost).mean().clamp(min=1e-12))


def _fields(values: Tensor, points: Tensor, channels: int | None = None) -> Tensor:
    """Return values as (sample, point, channel).

    Raises:
        OpkitInputError: shapes that do not fit, or values that are not finite.
    """
    fields = values[..., None] if values.ndim == 2 else values
    wanted = (len(points), channels or fields.shape[-1])
    if fields.ndim != 3 or fields.shape[1:] != wanted:
        raise OpkitInputError(
            f"values of shape {tuple(values.shape)} at {len(points)} points: give "
            "(sample, point[, channel])"
            + ("" if channels is None else f", of {channels} channels")
        )
    refuse_not_finite(fields)
    return fields


def _shares(points: Tensor, periodic: Sequence[bool], weights: Tensor | None) -> Tensor:
    """Return the share of each point (point,), of sum 1.

    Raises:
        OpkitInputError: weights of another shape, negative, not finite or all zero.
    """
    if weights is None:
        return shares(points, periodic)
    sound = weights.shape == (len(points),) and bool((weights >= 0).all())
    total = weights.sum()
    if not (sound and bool(total.isfinite()) and total > 0):
        raise OpkitInputError(
            f"weights of shape {tuple(weights.shape)} for {len(points)} points: give "
            "one for each, 0 or more, with a finite sum above 0"
        )
    return weights / total


def _mean(values: Tensor, w: Tensor, channels: bool = False) -> Tensor:
    """Mean over points, and over channels too unless they are wanted, (batch[, c])."""
    means = torch.einsum("p,bpc->bc", w.to(values), values)
    return means if channels else means.mean(1)
