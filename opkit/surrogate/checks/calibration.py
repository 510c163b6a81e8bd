"""What a surrogate knows about its own errors, measured on held-out samples.

The error of sample i is e_i = |û - u| / |u| (relative L2, for each frame of a rollout);
its scale is σ_i = r_i^a d_i^b with r the residual of the PDE, d the novelty of the
input, and exponents a and b that were chosen on other samples. With q the conformal
quantile of e_i / σ_i,

    e(x) <= q σ(x)

with at least the stated probability for inputs from the distribution of the validation
split. Pointwise, the same is done with the 95th percentile over points of |û - u| / s,
s (channel, *space) a map of typical errors: at least 95 % of the points lie within
q' σ(x) s of the prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.errors import BundleError
from opkit.surrogate.bundle.record import CalibrationRecord
from opkit.surrogate.checks import conformal
from opkit.surrogate.checks.novelty import Novelty

Array = NDArray[np.float64]

COVERAGE = 0.95
POINTS = 0.95
"""Part of the points of a sample that lie inside the pointwise band."""
PREFIX = "calibration."
NAMES = ("mean", "whiten", "novelty", "errors", "points", "spread")


@dataclass(frozen=True)
class Calibration:
    """A calibration's record and numbers.

    Args:
        record: how it was made.
        novelty: of inputs.
        novelty_scores: (n,) of the calibration samples.
        errors: (frame, n) e / σ of the calibration samples.
        points: (frame, n) 95th percentiles over points of |û - u| / (s σ).
        spread: s (frame, channel, *space), in the outputs' units.
    """

    record: CalibrationRecord
    novelty: Novelty
    novelty_scores: Array
    errors: Array
    points: Array
    spread: Tensor

    def scale(self, residual: Array | None, novelty: Array) -> Array:
        """Return σ (batch,)."""
        a, b = self.record.residual_power, self.record.novelty_power
        scale = np.maximum(novelty, 1e-300) ** b
        return scale if residual is None else scale * np.maximum(residual, 1e-300) ** a

    def error_bound(self, scale: Array, coverage: float, frames: int) -> Array:
        """Return the bound of e (batch, frame); infinite beyond what was calibrated."""
        bound = np.full((len(scale), frames), np.inf)
        known = min(frames, len(self.errors))
        bound[:, :known] = conformal.quantile(self.errors[:known], coverage)
        return bound * scale[:, None]

    def half_width(self, scale: Array, coverage: float, frames: int) -> Tensor:
        """Return half the pointwise band (batch, frame, channel, *space)."""
        known = min(frames, len(self.points))
        factor = np.full((len(scale), frames), np.inf)
        factor[:, :known] = conformal.quantile(self.points[:known], coverage)
        factor *= scale[:, None]
        width = torch.as_tensor(factor, dtype=self.spread.dtype)
        width = width.view(*width.shape, *(1,) * (self.spread.ndim - 1))
        spread = self.spread[:frames]
        if frames > known:
            spread = torch.cat(
                [spread, spread[-1:].expand(frames - known, *spread.shape[1:])]
            )
        return width * spread

    def p_value(self, novelty: Array) -> Array:
        """Return how usual inputs are: the share of calibration inputs as strange."""
        return conformal.p_value(self.novelty_scores, novelty)

    def tensors(self) -> dict[str, Tensor]:
        """Return the numbers as tensors, named as in a bundle."""
        plain = {
            "mean": self.novelty.mean,
            "whiten": self.novelty.whiten,
            "novelty": torch.from_numpy(self.novelty_scores),
            "errors": torch.from_numpy(self.errors),
            "points": torch.from_numpy(self.points),
            "spread": self.spread,
        }
        return {PREFIX + name: t.contiguous() for name, t in plain.items()}

    @classmethod
    def from_tensors(
        cls, record: CalibrationRecord, tensors: Mapping[str, Tensor]
    ) -> Calibration:
        """Rebuild from a bundle's tensors.

        Raises:
            BundleError: a tensor is missing, or shapes do not belong together.
        """
        found = {k.removeprefix(PREFIX): v for k, v in tensors.items()}
        if found.keys() != set(NAMES):
            wrong = ", ".join(sorted(found.keys() ^ set(NAMES)))
            raise BundleError(f"calibration: {wrong} missing or unknown; train again")
        n, m = record.samples, len(found["mean"])
        frames = len(found["spread"])
        expected = {
            "mean": (m,),
            "whiten": (m, m),
            "novelty": (n,),
            "errors": (frames, n),
            "points": (frames, n),
            "spread": tuple(found["spread"].shape),
        }
        for name, shape in expected.items():
            if tuple(found[name].shape) != shape:
                raise BundleError(
                    f"calibration: {name} has shape {tuple(found[name].shape)}, not "
                    f"{shape}; train again"
                )
        return cls(
            record,
            Novelty(found["mean"], found["whiten"]),
            found["novelty"].double().numpy(),
            found["errors"].double().numpy(),
            found["points"].double().numpy(),
            found["spread"],
        )
