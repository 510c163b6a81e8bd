"""A surrogate's verdict as plain tensor operations: range, novelty, error bound.

The numbers are those of ``surrogate.without_solver()(x, check=True)``, computed by the
same code; only Fourier transforms are written as real matrix products, for the formats
that know no complex numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle import forward
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.checks import conformal
from opkit.surrogate.checks.calibration import COVERAGE, SMALLEST, Calibration
from opkit.surrogate.checks.interface import Context
from opkit.surrogate.checks.novelty import Novelty
from opkit.surrogate.checks.range import Range
from opkit.surrogate.checks.spread import Spread, relative

SIGNIFICANCE = 0.05
"""As `Verdict.resembles_training` has it where nothing else is asked."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a verdict.

    Args:
        name: of it.
        columns: variables along its second axis; empty where it is (batch,).
        means: what it is, in a line.
    """

    name: str
    columns: tuple[str, ...]
    means: str


class VerdictProgram(nn.Module):
    """Inputs to what is known about the prediction, (batch,) or (batch, variable).

    Args:
        model: lowered copy of the surrogate's model, for operators that say how
            uncertain they are.
        roles: of the tensors that ``forward`` takes; see `Inputs`.
        calibration: one that asks no solver.
        coverage: 1 - α of the error bound.
    """

    mean: Tensor
    whiten: Tensor

    def __init__(
        self,
        model: PhysicalModel,
        roles: tuple[str, ...],
        calibration: Calibration,
        coverage: float = COVERAGE,
    ) -> None:
        super().__init__()
        self.model = model
        self.roles = roles
        self.context = Context(calibration.context.config, model)
        self.checks = dict(calibration.checks)
        self.powers = calibration.record.powers
        self.samples = calibration.record.samples
        self.quantile = float(conformal.quantile(calibration.errors[:1], coverage)[0])
        for name, check in self.checks.items():
            scores = torch.from_numpy(np.ascontiguousarray(calibration.scores[name]))
            self.register_buffer(f"scores_{name}", scores)
            if isinstance(check, Novelty):
                self.register_buffer("mean", check.mean.clone())
                self.register_buffer("whiten", check.whiten.clone())
        self.entries = entries_of(calibration, coverage)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors that `entries` names, float32."""
        inputs = Inputs(**dict(zip(self.roles, tensors, strict=True)))
        readings: dict[str, Tensor] = {}
        found: dict[str, Tensor] = {}
        for name, check in self.checks.items():
            if isinstance(check, Novelty):
                own = Novelty(self.context, self.mean, self.whiten)
                readings[name] = own.measure(inputs, power_by_products)
                found["novelty"] = readings[name]
            elif isinstance(check, Range):
                parts = Range(self.context).measure(inputs)
                found["range"] = torch.stack(list(parts.values()), 1)
                readings[name] = found["range"].amax(1)
            elif isinstance(check, Spread):
                std = forward.deviation_of(self.model, inputs)
                readings[name] = found["spread"] = relative(std, self.model(inputs))
        bound = inputs.fields.new_full(
            (inputs.fields.shape[0],), self.quantile, dtype=torch.float64
        )
        for name, power in self.powers.items():
            if power:
                bound = bound * readings[name].clamp(min=SMALLEST) ** power
        found["error_bound"] = bound
        usual = torch.ones_like(bound)
        level = max(SIGNIFICANCE, 1 / (self.samples + 1))
        for name, values in readings.items():
            check, p = self.checks[name], self._p_value(name, values)
            if check.of_input and p is not None:
                usual = usual * (p > level).to(usual)
            if name == Novelty.name and p is not None:
                found["p_value"] = p
        found["usual"] = usual
        return tuple(found[entry.name].float() for entry in self.entries)

    def _p_value(self, name: str, values: Tensor) -> Tensor | None:
        """Share of calibration samples that read at least as much; see `conformal`."""
        scores = self.get_buffer(f"scores_{name}")
        if not len(scores):
            return None
        above = (scores[None] >= values[:, None]).to(values).sum(1)
        return (1 + above) / (len(scores) + 1)


def entries_of(
    calibration: Calibration, coverage: float = COVERAGE
) -> tuple[Entry, ...]:
    """Say what a verdict consists of."""
    checks = calibration.checks
    entries = [
        Entry(
            "error_bound",
            (),
            f"relative L2 error, not exceeded with probability {coverage:g}",
        ),
        Entry("usual", (), "1 where the input resembles the training inputs, else 0"),
    ]
    if Novelty.name in checks:
        entries.append(Entry("novelty", (), checks[Novelty.name].describe()))
        if len(calibration.scores[Novelty.name]):
            text = "share of calibration inputs at least as novel"
            entries.append(Entry("p_value", (), text))
    if Range.name in checks:
        config = calibration.context.config
        fields = (*config.inputs, *config.by_role["static"])
        names = tuple(v.name for v in (*fields, *config.parameters, *config.series))
        entries.append(Entry("range", names, checks[Range.name].describe()))
    if Spread.name in checks:
        entries.append(Entry("spread", (), checks[Spread.name].describe()))
    return tuple(entries)


def power_by_products(x: Tensor) -> Tensor:
    """Return what `novelty.power_by_fft` returns, by products with real matrices."""
    real, imaginary = x, torch.zeros_like(x)
    axes = range(2, x.ndim)
    for axis in reversed(axes):
        n = x.shape[axis]
        count = n // 2 + 1 if axis == x.ndim - 1 else n
        angle = 2 * np.pi / n * np.outer(np.arange(n), np.arange(count))
        c, s = (torch.from_numpy(f(angle) / n).to(x) for f in (np.cos, np.sin))
        real, imaginary = (part.transpose(axis, -1) for part in (real, imaginary))
        real, imaginary = (
            (real @ c + imaginary @ s).transpose(axis, -1),
            (imaginary @ c - real @ s).transpose(axis, -1),
        )
    return real.square() + imaginary.square()
