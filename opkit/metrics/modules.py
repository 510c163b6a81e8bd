"""Means over samples of the errors in `opkit.metrics.functional`, as torchmetrics.

State is a float64 sum and a count, reduced over processes by summing: the value does
not depend on how samples are spread over batches or processes, beyond rounding.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from opkit.errors import OpkitInputError, missing, nearest
from opkit.metrics import functional
from opkit.metrics.domains import Domain

try:
    from torchmetrics import Metric
except (ImportError, OSError, RuntimeError) as error:
    raise missing("torchmetrics", "train", error) from error


class MeanError(Metric):
    """Mean over samples of one error of `opkit.metrics.functional`.

    Args:
        grid: extent and periodicity, used by errors with derivatives; or a mesh.
    """

    name: ClassVar[str]
    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, grid: Domain) -> None:
        super().__init__()
        self.grid = grid
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state("total", zero.clone(), dist_reduce_fx="sum")
        self.add_state("count", zero.clone(), dist_reduce_fx="sum")

    def update(
        self,
        prediction: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        domain: Domain | None = None,
    ) -> None:
        """Add a batch (batch, channel, *space), each sample with its weight or 1.

        Args:
            prediction: of the batch.
            target: of the batch.
            weight: (batch,).
            domain: of this batch, where it is not that of all.
        """
        error, domain = functional.error(self.name), domain or self.grid
        values = error(prediction, target, domain).double()
        if weight is None:
            weight = torch.ones_like(values)
        self.total += (values * weight).sum()
        self.count += weight.sum()

    def compute(self) -> Tensor:
        """Return the mean over all samples seen."""
        return self.total / self.count


class RelativeL2(MeanError):
    """Mean relative L2 error."""

    name = "relative_l2"


class NRMSE(MeanError):
    """Mean normalised root-mean-square error."""

    name = "nrmse"


class VRMSE(MeanError):
    """Mean root-mean-square error over standard deviation."""

    name = "vrmse"


class RelativeH1(MeanError):
    """Mean relative H1 error."""

    name = "relative_h1"


class MSE(MeanError):
    """Mean squared error."""

    name = "mse"


class SpectralError(MeanError):
    """Mean distance of the energy spectra, in decades."""

    name = "spectral_error"


class RolloutError(Metric):
    """Relative L2 error of every step of a rollout, (step,).

    Args:
        steps: length of the rollouts.
    """

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        total = torch.zeros(steps, dtype=torch.float64)
        self.add_state("total", total, dist_reduce_fx="sum")
        count = torch.zeros((), dtype=torch.float64)
        self.add_state("count", count, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add rollouts of shape (batch, step, channel, *space)."""
        steps = prediction.shape[1]
        folded = functional.relative_l2(prediction.flatten(0, 1), target.flatten(0, 1))
        self.total += folded.double().view(-1, steps).sum(0)
        self.count += len(prediction)

    def compute(self) -> Tensor:
        """Return the mean error of each step."""
        return self.total / self.count


METRICS: dict[str, type[MeanError]] = {
    cls.name: cls for cls in (RelativeL2, NRMSE, VRMSE, RelativeH1, MSE, SpectralError)
}


def build(name: str, grid: Domain) -> MeanError:
    """Construct a metric by name.

    Raises:
        OpkitInputError: the name is unknown.
    """
    if name not in METRICS:
        raise OpkitInputError(
            f"unknown metric {name!r}.{nearest(name, METRICS)} "
            f"Known: {', '.join(METRICS)}."
        )
    return METRICS[name](grid)
