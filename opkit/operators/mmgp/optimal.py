"""Optimal morphing: maps of a line under which moving fronts have few modes.

    max_c Σ_{k ≤ r} σ_k² / Σ_k σ_k² - α mean |φ_i''|²,
    σ: singular values of u_i ∘ φ_i,   φ_i(x) = x + Σ_j c_ij sin(jπx),   φ_i' > 0

Modes of fields whose fronts move decay slowly; after a map of each sample they decay
fast. Fields are blurred at first and less and less, so that fronts that lie far apart
see one another. The same serves as the registration auto-encoder. Sources: Kabalan,
Casenave, Bordeu, Ehrlacher, Ern, arXiv:2502.11632 (O-MMGP); Mojgani, Balajewicz, AAAI
2021, arXiv:2006.15655.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

BLURS = (0.2, 0.07, 0.02, 0.0)
"""Widths of the blur, over the length of the line, one stage after another."""
STEPS = 25
"""Evaluations of the L-BFGS of a stage, times two."""
STIFF = 1e-6
"""Weight of the mean square of the second derivative of the maps."""
BARRIER = 0.05
"""Slope of a map below which the objective rises."""


@dataclass(frozen=True)
class Morphed:
    """Fields after the maps of their samples.

    Args:
        maps: (sample, point) places φ_i(x) of the points x of the reference line.
        fields: (sample, point) values u_i(φ_i(x)).
        coefficients: (sample, mode) of the maps, for processes to learn.
    """

    maps: Array
    fields: Array
    coefficients: Array

    def error(self, rank: int) -> float:
        """Relative error of the best approximation of the morphed fields."""
        return rank_error(self.fields, rank)

    def back(self, fields: Array) -> Array:
        """Carry fields (sample, point) on the reference line back to their samples."""
        line = np.linspace(0, 1, fields.shape[1])
        pairs = zip(self.maps, fields, strict=True)
        return np.stack([np.interp(line, where, field) for where, field in pairs])


def rank_error(fields: Array, rank: int) -> float:
    """Relative error of the best few modes for fields (sample, point)."""
    energy = np.linalg.svd(fields, compute_uv=False) ** 2
    return float(np.sqrt(energy[rank:].sum() / energy.sum()))


def truncated(fields: Array, rank: int) -> Array:
    """Best approximation of fields (sample, point) by few modes."""
    u, s, v = np.linalg.svd(fields, full_matrices=False)
    result: Array = (u[:, :rank] * s[:rank]) @ v[:rank]
    return result


def optimal_morphing(fields: Array, rank: int = 2, modes: int = 8) -> Morphed:
    """Find maps of the unit line under which fields have few modes.

    Args:
        fields: (sample, point) on even points of the line, both ends among them.
        rank: modes that are to hold the energy.
        modes: sine waves of a map.

    Raises:
        OpkitInputError: too few points or samples, or a map that folds.
    """
    if fields.ndim != 2 or fields.shape[0] <= rank or fields.shape[1] < 4 * modes:
        raise OpkitInputError(
            f"fields of shape {fields.shape}: give (sample, point) with more than "
            f"{rank} samples and at least {4 * modes} points"
        )
    u = torch.from_numpy(np.asarray(fields, np.float64))
    line = torch.linspace(0, 1, u.shape[1], dtype=torch.float64)
    waves = torch.arange(1, modes + 1, dtype=torch.float64)[:, None] * torch.pi
    sines, slopes = torch.sin(waves * line), waves * torch.cos(waves * line)
    scale = 1 / waves[:, 0]  # steps of one size in each slope
    c = torch.zeros(len(u), modes, dtype=torch.float64, requires_grad=True)

    def objective(seen: Tensor) -> Tensor:
        moved = pulled(seen, line + (c * scale) @ sines)
        energy = torch.linalg.eigvalsh(moved @ moved.T)
        lost = energy[:-rank].sum() / energy.sum()
        bend = ((c * scale * waves[:, 0] ** 2) ** 2).sum(1).mean()
        slope = 1 + (c * scale) @ slopes
        fold = (BARRIER - slope).clamp(min=0).square().mean() / BARRIER**2
        loss: Tensor = lost + STIFF * bend + fold
        return loss

    for width in BLURS:
        seen = blurred(u, width)
        optimiser = torch.optim.LBFGS(
            [c], max_iter=STEPS, max_eval=2 * STEPS, line_search_fn="strong_wolfe"
        )

        def closure(
            seen: Tensor = seen, optimiser: torch.optim.LBFGS = optimiser
        ) -> Tensor:
            optimiser.zero_grad()
            loss = objective(seen)
            torch.autograd.backward(loss)
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        slope = 1 + (c * scale) @ slopes
        if slope.min() <= 0:
            sample, point = divmod(int(slope.argmin()), slope.shape[1])
            raise OpkitInputError(
                f"the map of sample {sample} folds over near x = {line[point]:.4g}: "
                "give a smaller number of modes, or samples whose fronts lie closer"
            )
        maps = line + (c * scale) @ sines
        moved = pulled(u, maps)
    return Morphed(maps.numpy(), moved.numpy(), (c * scale).detach().numpy())


def pulled(fields: Tensor, places: Tensor) -> Tensor:
    """Values of fields (sample, point) at places (sample, place), linear in between."""
    last = fields.shape[1] - 1
    at = places.clamp(0, 1) * last
    left = at.detach().floor().long().clamp(0, last - 1)
    fraction = at - left
    here, there = fields.gather(1, left), fields.gather(1, left + 1)
    return here * (1 - fraction) + there * fraction


def blurred(fields: Tensor, width: float) -> Tensor:
    """Means of fields (sample, point) under a Gaussian of a width."""
    if not width:
        return fields
    line = torch.linspace(0, 1, fields.shape[1], dtype=fields.dtype)
    weights = torch.exp(-0.5 * ((line[:, None] - line) / width) ** 2)
    return fields @ (weights / weights.sum(1, keepdim=True)).T
