"""What a surrogate knows about its own errors, measured on held-out samples.

The error of sample i is e_i = |û - u| / |u| (relative L2, for each frame of a rollout);
its scale is a product of powers of readings of the checks,

    σ_i = Π_c r_ic^(a_c),

with exponents a_c that were chosen on other samples. With q the conformal quantile of
e_i / σ_i,

    e(x) <= q σ(x)

with at least the stated probability for inputs from the distribution of the validation
split. Pointwise, the same is done with the 95th percentile over points of |û - u| / s,
s (channel, *space) a map of typical errors: at least 95 % of the points lie within
q' σ(x) s of the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import BundleError
from opkit.operators.shapes import Packing
from opkit.surrogate.bundle.record import CalibrationRecord
from opkit.surrogate.checks import CHECKS, conformal
from opkit.surrogate.checks.interface import Check, Context, refuse_names, refuse_shape

COVERAGE = 0.95
POINTS = 0.95
"""Part of the points of a sample that lie inside the pointwise band."""
PREFIX = "calibration."
SCORES = "scores"
"""Name of the calibration samples' readings beside a check's own tensors."""
OWN = ("errors", "points", "spread")
QUANTITY = "quantity."
"""Before the name of a quantity of interest."""
SMALLEST = 1e-300
"""In place of a reading of 0, which has no negative power."""


@dataclass(frozen=True)
class Calibration:
    """A calibration's record and numbers.

    Args:
        record: how it was made.
        context: the surrogate.
        checks: by name, in the order of `CHECKS`.
        scores: of the calibration samples (n,) by check, increasing; (0,) where they
            were not stored.
        errors: (frame, n) e / σ of the calibration samples, increasing.
        points: (frame, n) 95th percentiles over points of |û - u| / (s σ), increasing.
        spread: s (frame, channel, *space), in the outputs' units; (frame, channel, 1)
            where samples have points of their own, brief (`Packing`) where some
            outputs are no fields there.
        quantities: by quantity of interest (frame, n) |q(û) - q(u)| / σ, increasing.
    """

    record: CalibrationRecord
    context: Context
    checks: Mapping[str, Check]
    scores: Mapping[str, Array]
    errors: Array
    points: Array
    spread: Tensor
    quantities: Mapping[str, Array] = field(default_factory=dict)

    def error_bound(self, scale: Array, coverage: float, frames: int) -> Array:
        """Return the bound of e (batch, frame); infinite beyond what was calibrated."""
        return error_bound(self.errors, scale, coverage, frames)

    def quantity_bound(
        self, name: str, scale: Array, coverage: float, frames: int
    ) -> Array:
        """Return the bound of the error of a quantity of interest (batch, frame)."""
        return error_bound(self.quantities[name], scale, coverage, frames)

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

    def p_values(self, readings: Mapping[str, Array]) -> dict[str, Array]:
        """Return by check the share of calibration samples that read at least as much.

        Args:
            readings: (batch,) by check.

        Returns:
            (batch,) by check, of the checks whose calibration scores are known.
        """
        return {
            name: conformal.p_value(self.scores[name], _finite(values))
            for name, values in readings.items()
            if len(self.scores[name])
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the numbers as tensors, named as in a bundle, all of them finite.

        A bundle refuses what is not finite, and the largest number bounds as much as
        infinity: it stands for the error and the residual of a rollout that blows up.
        """
        plain = {
            "errors": torch.from_numpy(_finite(self.errors)),
            "points": torch.from_numpy(_finite(self.points)),
            "spread": torch.nan_to_num(
                self.spread, nan=torch.finfo(self.spread.dtype).max
            ),
        }
        for name, errors in self.quantities.items():
            plain[f"{QUANTITY}{name}"] = torch.from_numpy(_finite(errors))
        for name, check in self.checks.items():
            plain[f"{name}.{SCORES}"] = torch.from_numpy(_finite(self.scores[name]))
            plain |= {f"{name}.{key}": t for key, t in check.tensors().items()}
        return {PREFIX + name: t.contiguous() for name, t in plain.items()}

    @classmethod
    def from_tensors(
        cls, record: CalibrationRecord, tensors: Mapping[str, Tensor], context: Context
    ) -> Calibration:
        """Rebuild from a bundle's tensors.

        Args:
            record: of the calibration.
            tensors: all that begin with `PREFIX`.
            context: the surrogate.

        Raises:
            BundleError: a tensor is missing, or shapes do not belong together, or the
                bundle has a check that this opkit does not know.
        """
        plain = {name.removeprefix(PREFIX): t for name, t in tensors.items()}
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in record.checks}
        own: dict[str, Tensor] = {}
        quantities: dict[str, Tensor] = {}
        for name, tensor in plain.items():
            if name.startswith(QUANTITY):
                quantities[name.removeprefix(QUANTITY)] = tensor
                continue
            check, _, key = name.partition(".")
            if check in parts and key:
                parts[check][key] = tensor
            else:
                own[name] = tensor
        refuse_names(own, OWN, "")
        n, frames = record.samples, len(own["spread"])
        for name in ("errors", "points"):
            refuse_shape(own[name], (frames, n), name)
        refuse_names(quantities, record.quantities, QUANTITY)
        for name, tensor in quantities.items():
            refuse_shape(tensor, (frames, n), QUANTITY + name)
        scores = {}
        for name, part in parts.items():
            if SCORES not in part:
                refuse_names({}, (SCORES,), f"{name}.")
            scores[name] = part.pop(SCORES).double().numpy()
            if scores[name].shape != (0,):
                refuse_shape(torch.from_numpy(scores[name]), (n,), f"{name}.{SCORES}")
        return cls(
            record,
            context,
            _checks(record, context, parts),
            scores,
            own["errors"].double().numpy(),
            own["points"].double().numpy(),
            own["spread"],
            {name: t.double().numpy() for name, t in quantities.items()},
        )


def error_bound(errors: Array, scale: Array, coverage: float, frames: int) -> Array:
    """Return the conformal bound (batch, frame) of errors (frame, n) over σ."""
    bound = np.full((len(scale), frames), np.inf)
    known = min(frames, len(errors))
    bound[:, :known] = conformal.quantile(errors[:known], coverage)
    return bound * scale[:, None]


def lengthened(packing: Packing | None, spread: Tensor, values: int) -> Tensor:
    """Return s at all values of a sample, where some of them have no places.

    Args:
        packing: of the outputs; None where all are fields.
        spread: as stored.
        values: of the sample.
    """
    return spread if packing is None else packing.lengthen(spread, values)


def inside(relative: Tensor) -> Tensor:
    """Below what the share `POINTS` of values lies, (batch, frame).

    Args:
        relative: |û - u| / s (batch, frame, channel, *space).
    """
    flat = relative.flatten(2)
    count = math.ceil(POINTS * flat.shape[-1])
    return flat.kthvalue(count, dim=-1).values


def scale(
    powers: Mapping[str, float], readings: Mapping[str, Array], batch: int
) -> Array:
    """Return σ (batch,), the product of powers of readings.

    Args:
        powers: by check; 0 where the reading is not part of the scale.
        readings: (batch,) by check; at least those whose power is not 0.
        batch: number of samples.
    """
    sigma = np.ones(batch)
    for name, power in powers.items():
        if power:
            sigma = sigma * np.maximum(readings[name], SMALLEST) ** power
    return sigma


def _checks(
    record: CalibrationRecord,
    context: Context,
    parts: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Check]:
    known = {kind.name: kind for kind in CHECKS}
    unknown = sorted(record.checks.keys() - known.keys())
    if unknown:
        raise BundleError(
            f"calibration: this opkit does not know the check {unknown[0]!r}; "
            "upgrade: python -m pip install -U opkit"
        )
    return {
        name: kind.from_tensors(context, parts[name])
        for name, kind in known.items()
        if name in parts
    }


def _finite(values: Array) -> Array:
    largest = np.finfo(np.float64).max
    return np.nan_to_num(values, nan=largest, posinf=largest, neginf=-largest)
