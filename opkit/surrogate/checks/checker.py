"""What the checks say of predictions, and how large their errors may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.show import Shown
from opkit.base.thumbnail import pictures
from opkit.errors import BundleError, CaseError, MissingExtraError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.surrogate.adapters import arrays
from opkit.surrogate.bundle import forward
from opkit.surrogate.checks.calibration import (
    COVERAGE,
    Calibration,
    lengthened,
    scale,
)
from opkit.surrogate.checks.functions import QuantityFunction
from opkit.surrogate.checks.interface import Pairs, Reading
from opkit.surrogate.checks.novelty import Novelty
from opkit.surrogate.checks.quantities import Quantified, Quantities
from opkit.surrogate.checks.range import Range
from opkit.surrogate.checks.residual import Residual


@dataclass(frozen=True)
class Verdict:
    """What is known about the predictions for a batch.

    Args:
        error_bound: relative L2 error that is not exceeded with probability
            ``coverage``, (batch,), or (batch, step) for rollouts, where it holds for
            each step by itself; for inputs from the distribution of the training data.
            Infinite where there are too few calibration samples for this coverage.
        coverage: 1 - α.
        readings: of the checks by name (batch,); larger deserves less trust.
        by_variable: by check and input variable (batch,), where a check tells variables
            apart.
        p_values: by check, share of calibration samples that read at least as much
            (batch,).
        of_input: names of the checks that look at the input alone.
        scale: σ of the calibration (batch,).
        samples: calibration samples.
        quantities: quantities of interest of the predictions by name, with bounds of
            their errors that hold with probability ``coverage``.
    """

    error_bound: Array
    coverage: float
    readings: Mapping[str, Array]
    by_variable: Mapping[str, Mapping[str, Array]]
    p_values: Mapping[str, Array]
    of_input: frozenset[str]
    scale: Array
    samples: int
    quantities: Mapping[str, Quantified]

    def resembles_training(self, significance: float = 0.05) -> NDArray[np.bool_]:
        """Say which inputs resemble the training inputs, (batch,).

        An input does not if for one of the checks that look at inputs (novelty, range)
        its p-value is at most the significance: per check, so large a share of the
        inputs of the training distribution is taken for strange, too. What is stranger
        than all calibration inputs counts as strange in any case.
        """
        level = max(significance, 1 / (self.samples + 1))
        similar = np.ones(len(self.scale), np.bool_)
        for name in self.of_input & self.p_values.keys():
            similar &= self.p_values[name] > level
        return similar

    @property
    def residual(self) -> Array | None:
        """The solver's residual of the PDE (batch,); None where there is no solver."""
        return self.readings.get(Residual.name)

    @property
    def novelty(self) -> Array:
        """Mahalanobis distance of the input's features (batch,); 1 is typical."""
        return self.readings[Novelty.name]

    @property
    def p_value(self) -> Array:
        """Share of calibration inputs at least as novel (batch,)."""
        return self.p_values[Novelty.name]

    @property
    def in_range(self) -> dict[str, NDArray[np.bool_]]:
        """Input variable to (batch,): all values within the range seen in training."""
        beyond = self.by_variable.get(Range.name, {})
        return {name: values <= 0 for name, values in beyond.items()}


@dataclass(frozen=True, repr=False)
class Checked(Shown, Verdict):
    """Predictions and what is known about them.

    Args:
        prediction: as an unchecked call returns it.
        lower: and ``upper``, of the same kind: with probability ``coverage`` at least
            95 % of a sample's points lie between them.
        upper: see ``lower``.
        deviation: of the same kind, the operator's own standard deviation at each
            point; None of an operator that has none.
    """

    prediction: Any
    lower: Any
    upper: Any
    deviation: Any = None

    def _facts(self) -> dict[str, Any]:
        usual = self.resembles_training()
        return {
            "samples": len(usual),
            "coverage": self.coverage,
            "largest error bound": float(np.max(self.error_bound, initial=0.0)),
            "unlike the training inputs": f"{int((~usual).sum())} of {len(usual)}",
            **{
                f"largest {name}": float(np.max(values, initial=0.0))
                for name, values in self.readings.items()
            },
            **{
                f"largest bound of {name}": float(np.max(q.error_bound, initial=0.0))
                for name, q in self.quantities.items()
            },
        }

    def _pictures(self) -> dict[str, str]:
        return pictures(self.prediction)


class Checker:
    """Judges the predictions of one surrogate on the grid of its calibration.

    Args:
        calibration: of its errors.
        functions: quantities of interest written in Python, by name.

    Raises:
        BundleError: there is no calibration.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        functions: Mapping[str, QuantityFunction] | None = None,
    ) -> None:
        if calibration is None:
            raise BundleError(
                "this bundle has no calibration, so its predictions cannot be checked: "
                "train again with this version"
            )
        self.calibration = calibration
        self.context = calibration.context
        self.config, self.model = self.context.config, self.context.model
        self.quantities = Quantities(self.context)
        self.functions = functions or {}

    def judge(
        self,
        inputs: Inputs,
        prediction: Tensor,
        coverage: float = COVERAGE,
        without_solver: bool = False,
    ) -> Verdict:
        """Judge the predictions for a batch.

        Args:
            inputs: a batch, physical units.
            prediction: (batch, [steps,] channel, *space).
            coverage: 1 - α of the error bound.
            without_solver: leave out a reading for which the case's solver is missing,
                if the error bound can be computed without it.

        Raises:
            OpkitInputError: another grid, or a coverage that is no probability.
            CaseError: the case's solver is needed, and not known here.
            MissingExtraError: the case's solver is needed, and not installed.
        """
        config, calibration = self.config, self.calibration
        space = tuple(inputs.fields.shape[-len(config.axes) :])
        if config.shape.is_other_grid(space):
            raise OpkitInputError(
                f"inputs on {space}: checks are calibrated on {config.shape.shape}"
            )
        powers = calibration.record.powers
        scores: dict[str, Reading] = {}
        for name, check in calibration.checks.items():
            try:
                scores[name] = check.score(Pairs(inputs, prediction))
            except (CaseError, MissingExtraError) as error:
                if not without_solver:
                    raise
                if powers[name] or check.of_input:
                    raise type(error)(
                        f"error bounds of this surrogate need its {name}, and there is "
                        f"no solver: {error}"
                    ) from error
        readings = {name: reading.values for name, reading in scores.items()}
        sigma = scale(powers, readings, len(prediction))
        frames = prediction.shape[1] if self.model.history else 1
        bound = calibration.error_bound(sigma, coverage, frames)
        return Verdict(
            error_bound=bound if self.model.history else bound[:, 0],
            coverage=coverage,
            readings=readings,
            by_variable={
                name: reading.by_variable
                for name, reading in scores.items()
                if reading.by_variable
            },
            p_values=calibration.p_values(readings),
            of_input=frozenset(
                name for name, check in calibration.checks.items() if check.of_input
            ),
            scale=sigma,
            samples=calibration.record.samples,
            quantities=self._quantities(inputs, prediction, sigma, coverage),
        )

    def quantities_of(self, inputs: Inputs, outputs: Tensor) -> dict[str, Array]:
        """Return each quantity of interest of outputs (batch,), or (batch, step)."""
        values = {
            name: function.of(self.config, inputs, outputs)
            for name, function in self.functions.items()
        }
        known = self.calibration.quantities
        if known:
            of_case = self.quantities.of(inputs, outputs)
            values |= {name: of_case[name] for name in of_case if name in known}
        return values

    def _quantities(
        self, inputs: Inputs, prediction: Tensor, sigma: Array, coverage: float
    ) -> dict[str, Quantified]:
        calibration, quantified = self.calibration, {}
        for name, value in self.quantities_of(inputs, prediction).items():
            frames = value.shape[1] if value.ndim > 1 else 1
            if name in self.functions:
                function = self.functions[name]
                bound, units = function.bound(sigma, coverage, frames), ""
                reason = function.reason
            else:
                bound = calibration.quantity_bound(name, sigma, coverage, frames)
                units, reason = calibration.record.quantities[name], ""
            bound = bound.reshape(value.shape)
            quantified[name] = Quantified(value, bound, units, reason)
        return quantified

    def check(
        self,
        predict: Callable[[Inputs], Tensor],
        inputs: Any,
        steps: int | None,
        coverage: float = COVERAGE,
        static: Any = None,
    ) -> Checked:
        """Predict for arrays of any kind, and judge.

        Args:
            predict: maps `Inputs` to outputs.
            inputs: what the user gave.
            steps: of a rollout; None for one call.
            coverage: 1 - α.
            static: fields that stay as they are, where ``inputs`` does not hold them.

        Raises:
            OpkitInputError: inputs that do not fit, or lie on dask.
        """
        arrays.refuse_lazy(inputs, "a check looks at values")
        judged: list[tuple[Tensor, Verdict]] = []

        def once(batch: Inputs) -> Tensor:
            outputs = predict(batch)
            meshless = self.config.shape.ragged and batch.cells is None
            verdict = self.judge(batch, outputs, coverage, meshless)
            judged.append((outputs.detach(), verdict))
            return outputs

        def alike(run: Callable[[Inputs], Tensor]) -> Any:
            return arrays.apply(run, inputs, self.config, steps, static)

        prediction = alike(once)
        outputs, verdict = judged[0]
        frames = outputs.shape[1] if self.model.history else 1
        half = self.calibration.half_width(verdict.scale, coverage, frames)
        half = lengthened(self.config.shape.packing, half, outputs.shape[-1])
        half = (half if self.model.history else half[:, 0]).to(outputs)
        known = forward.knows_deviation(self.model)
        return Checked(
            **vars(verdict),
            prediction=prediction,
            lower=alike(partial(_constant, outputs - half)),
            upper=alike(partial(_constant, outputs + half)),
            deviation=alike(partial(forward.deviation, self.model)) if known else None,
        )


def _constant(value: Tensor, _: Inputs) -> Tensor:
    return value
