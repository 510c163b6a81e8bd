"""Several surrogates of one problem as one, each weighed by how wrong it may be.

    u(x) = Σ_k w_k(x) u_k(x),   w_k ∝ 1 / b_k(x)²,   Σ_k w_k = 1

b_k is the calibrated bound of the error of surrogate k at the input x. A surrogate to
which x is strange has no weight as long as there is one to which it is not: surrogates
may know different parts of a law. Since |Σ w_k (u_k - u)| <= Σ w_k |u_k - u|,

    Σ_k w_k b_k   bounds the error with probability 1 - α

where each b_k holds with 1 - α / K. The weights are those of independent errors; they
replace the router of a mixture of experts, which would have to be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.show import Shown, grid
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.surrogate.adapters import arrays
from opkit.surrogate.adapters.refuse import with_finite
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.checks.calibration import COVERAGE
from opkit.surrogate.surrogate import Surrogate, load


@dataclass(frozen=True, repr=False)
class Blended(Shown):
    """Predictions of several surrogates, weighed.

    Args:
        prediction: of the kind that the inputs were.
        error_bound: relative L2 error that is not exceeded with probability
            ``coverage`` (batch,), for inputs that some surrogate finds usual.
        coverage: 1 - α.
        weights: (batch, surrogate).
        usual: (batch, surrogate) whether the input resembles the training inputs.
    """

    prediction: Any
    error_bound: Array
    coverage: float
    weights: Array
    usual: NDArray[np.bool_]

    def _facts(self) -> dict[str, Any]:
        return {
            "samples": len(self.weights),
            "coverage": self.coverage,
            "largest error bound": float(np.max(self.error_bound, initial=0.0)),
            "mean weights": ", ".join(f"{w:.2f}" for w in self.weights.mean(0)),
            "usual to none": int((~self.usual.any(1)).sum()),
        }


class Blend:
    """Surrogates of one problem; callable as each of them.

    Args:
        surrogates: or run directories or bundles that they are loaded from.

    Raises:
        OpkitInputError: fewer than two, or of other inputs, outputs or grids, or
            surrogates that make steps in time.
        BundleError: one has no calibration.
    """

    def __init__(self, surrogates: Sequence[Surrogate | str | Path]) -> None:
        members = [s if isinstance(s, Surrogate) else load(s) for s in surrogates]
        if len(members) < 2:
            raise OpkitInputError("a blend is of two surrogates or more: give more")
        first = members[0].config
        for k, member in enumerate(members):
            config = member.config
            for what in ("inputs", "parameters", "series", "boundary", "outputs"):
                mine, other = getattr(first, what), getattr(config, what)
                if [v.name for v in mine] != [v.name for v in other]:
                    raise OpkitInputError(
                        f"surrogate {k} has other {what} than the first: give "
                        "surrogates of one problem"
                    )
            here, there = _places(config), _places(first)
            if here != there:
                raise OpkitInputError(
                    f"surrogate {k} is on {here}, the first on {there}: give "
                    "surrogates on one grid"
                )
            if member.model.history:
                raise OpkitInputError(
                    "a blend is of surrogates in mode map or space-time: errors of "
                    "steps add up otherwise"
                )
            _ = member.checker  # refuses one without calibration
        self.members = tuple(members)

    def __call__(
        self,
        inputs: Any,
        check: bool = False,
        coverage: float = COVERAGE,
        significance: float = 0.05,
    ) -> Any:
        """Predict for one sample or a batch.

        Args:
            inputs: as for a call of a surrogate.
            check: return a `Blended`, with bounds and weights.
            coverage: probability that the errors stay within the bounds.
            significance: share of usual inputs that each surrogate may take for
                strange.

        Returns:
            Predictions of the kind that the inputs were; with ``check`` a `Blended`.

        Raises:
            OpkitInputError: inputs that do not fit, or lie on dask.
            NonFiniteError: a prediction without a check is not finite.
        """
        arrays.refuse_lazy(inputs, "weights are those of values")
        known: list[tuple[Array, Array, NDArray[np.bool_]]] = []

        def once(batch: Inputs) -> Tensor:
            outputs, bounds, usual = self._asked(batch, coverage, significance)
            weights = weights_of(bounds, usual)
            with np.errstate(invalid="ignore"):  # 0 times infinity: without a say
                parts = np.where(weights > 0, weights * bounds, 0.0)
            known.append((parts.sum(1), weights, usual))
            total = torch.zeros_like(outputs[0])
            for k, output in enumerate(outputs):
                shape = (-1, *(1,) * (output.ndim - 1))
                part = torch.as_tensor(weights[:, k], dtype=output.dtype)
                total = total + part.to(output.device).view(shape) * output
            return total

        run = once if check else with_finite(once)
        prediction = arrays.apply(run, inputs, self.members[0].config, None, None)
        if not check:
            return prediction
        bound, weights, usual = known[0]
        return Blended(prediction, bound, coverage, weights, usual)

    def _asked(
        self, batch: Inputs, coverage: float, significance: float
    ) -> tuple[list[Tensor], Array, NDArray[np.bool_]]:
        """Return outputs, bounds (batch, member) and who finds the inputs usual."""
        each = 1 - (1 - coverage) / len(self.members)
        outputs, bounds, usual = [], [], []
        for member in self.members:
            output = member.predict(batch)
            verdict = member.checker.judge(batch, output.detach(), each, True)
            outputs.append(output)
            bounds.append(verdict.error_bound)
            usual.append(verdict.resembles_training(significance))
        return outputs, np.stack(bounds, 1), np.stack(usual, 1)


def weights_of(bounds: Array, usual: NDArray[np.bool_]) -> Array:
    """Return the weights (batch, member), w ∝ 1 / b² among those that count.

    Args:
        bounds: b (batch, member), of errors; infinite where nothing is known.
        usual: (batch, member) whether the input is usual. Those to which it is not
            count only where it is usual to none.
    """
    counts = usual | ~usual.any(1, keepdims=True)
    size = np.where(counts, bounds, np.inf)
    least = size.min(1, keepdims=True)
    # all unknown: all alike; a bound of 0: those that are exact
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(size == least, 1.0, least / size)
    ratio = np.where(counts, ratio, 0.0)
    weights: Array = ratio**2 / (ratio**2).sum(1, keepdims=True)
    return weights


def _places(config: BundleConfig) -> str:
    if config.shape.ragged:
        return "nodes of each sample's own"
    return grid(config.shape.shape)
