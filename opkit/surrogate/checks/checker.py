"""Ask of a prediction: does it solve the PDE, was the input usual, how wrong is it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.errors import BundleError, OpkitInputError
from opkit.surrogate.adapters import arrays
from opkit.surrogate.bundle.normalise import Normaliser, PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.checks.calibration import COVERAGE, Calibration
from opkit.surrogate.checks.case_solver import Physics
from opkit.surrogate.checks.novelty import features

MARGIN = 0.05
"""Tolerance of the range seen in training, as a part of that range."""


@dataclass(frozen=True)
class Verdict:
    """What is known about the predictions for a batch.

    Args:
        error_bound: relative L2 error that is not exceeded with probability
            ``coverage``, (batch,), or (batch, step) for rollouts, where it holds for
            each step by itself; for inputs from the distribution of the training data.
            Infinite where there are too few calibration samples for this coverage.
        coverage: 1 - α.
        residual: the solver's residual of the PDE (batch,); None where there is none.
        in_range: input variable to (batch,): all values within the range of the
            training inputs, with 5 % of it to spare.
        novelty: Mahalanobis distance of the input's features (batch,), about 1 for
            training inputs.
        p_value: share of calibration inputs at least as novel (batch,).
        scale: σ of the calibration (batch,).
        samples: calibration samples.
    """

    error_bound: NDArray[np.float64]
    coverage: float
    residual: NDArray[np.float64] | None
    in_range: dict[str, NDArray[np.bool_]]
    novelty: NDArray[np.float64]
    p_value: NDArray[np.float64]
    scale: NDArray[np.float64]
    samples: int

    def usual(self, significance: float = 0.05) -> NDArray[np.bool_]:
        """Say which inputs look like training inputs: in range and not novel.

        An input is novel if its p-value is at most the significance: so large a share
        of the inputs of the training distribution is taken for novel, too. What is
        stranger than all calibration inputs counts as novel in any case.
        """
        inside = np.logical_and.reduce(list(self.in_range.values()))
        level = max(significance, 1 / (self.samples + 1))
        return np.asarray(inside & (self.p_value > level))


@dataclass(frozen=True)
class Checked(Verdict):
    """Predictions and what is known about them.

    Args:
        prediction: as an unchecked call returns it.
        lower: and ``upper``, of the same kind: with probability ``coverage`` at least
            95 % of a sample's points lie between them.
        upper: see ``lower``.
    """

    prediction: Any
    lower: Any
    upper: Any


class Checker:
    """Judges the predictions of one surrogate on the grid of its calibration.

    Args:
        config: record of the surrogate.
        model: its normalisers are asked.
        calibration: of its errors.

    Raises:
        BundleError: there is no calibration.
        CaseError: the case's solver is not known here.
        MissingExtraError: the solver is not installed.
    """

    def __init__(
        self,
        config: BundleConfig,
        model: PhysicalModel,
        calibration: Calibration | None,
    ) -> None:
        if calibration is None:
            raise BundleError(
                "this bundle has no calibration, so its predictions cannot be checked: "
                "train again with this version"
            )
        self.config, self.model, self.calibration = config, model, calibration
        has_residual = bool(calibration.record.residual)
        self.physics = Physics(config) if has_residual else None

    def judge(
        self,
        inputs: Tensor,
        prediction: Tensor,
        beside: Tensor | None = None,
        coverage: float = COVERAGE,
    ) -> Verdict:
        """Judge the predictions for a batch.

        Args:
            inputs: (batch, [history,] channel, *space), physical units.
            prediction: (batch, [steps,] channel, *space).
            beside: fields given beside the inputs.
            coverage: 1 - α of the error bound.

        Raises:
            OpkitInputError: another grid, or a coverage that is no probability.
        """
        config, model, calibration = self.config, self.model, self.calibration
        space = tuple(inputs.shape[-len(config.axes) :])
        if config.shape.inputs_on == "grid" and space != config.shape.shape:
            raise OpkitInputError(
                f"inputs on {space}: checks are calibrated on {config.shape.shape}"
            )
        residual = None
        if self.physics is not None:
            residual = self.physics.residual(inputs, prediction, beside)
        found = describe(config, model, inputs, beside)
        distance = calibration.novelty.score(found).numpy()
        scale = calibration.scale(residual, distance)
        frames = prediction.shape[1] if model.history else 1
        bound = calibration.error_bound(scale, coverage, frames)
        return Verdict(
            error_bound=bound if model.history else bound[:, 0],
            coverage=coverage,
            residual=residual,
            in_range=in_range(config, model, inputs, beside),
            novelty=distance,
            p_value=calibration.p_value(distance),
            scale=scale,
            samples=calibration.record.samples,
        )

    def check(
        self,
        predict: Callable[..., Tensor],
        inputs: Any,
        steps: int | None,
        coverage: float = COVERAGE,
        static: Tensor | None = None,
    ) -> Checked:
        """Predict for arrays of any kind, and judge.

        Args:
            predict: maps (batch, [history,] channel, *space) tensors, and boundary
                data where there are any, to outputs.
            inputs: what the user gave.
            steps: of a rollout; None for one call.
            coverage: 1 - α.
            static: fields given at every step.

        Raises:
            OpkitInputError: inputs that do not fit, or lie on dask.
        """
        arrays.refuse_lazy(inputs, "a check looks at values")
        found: list[tuple[Tensor, Verdict]] = []

        def once(x: Tensor, boundary: Tensor | None = None) -> Tensor:
            made = predict(x) if boundary is None else predict(x, boundary)
            beside = static if boundary is None else boundary
            found.append((made.detach(), self.judge(x, made, beside, coverage)))
            return made

        prediction = arrays.apply(once, inputs, self.config, steps)
        made, verdict = found[0]
        frames = made.shape[1] if self.model.history else 1
        half = self.calibration.half_width(verdict.scale, coverage, frames)
        half = (half if self.model.history else half[:, 0]).to(made)
        low, high = (
            arrays.apply(
                partial(_constant, made + sign * half), inputs, self.config, steps
            )
            for sign in (-1, 1)
        )
        return Checked(**vars(verdict), prediction=prediction, lower=low, upper=high)


def _constant(value: Tensor, *_: Tensor) -> Tensor:
    return value


def describe(
    config: BundleConfig, model: PhysicalModel, inputs: Tensor, beside: Tensor | None
) -> Tensor:
    """Features (batch, feature) of inputs; of the last of several frames."""
    grid = config.shape.inputs_on == "grid"
    x = (inputs[:, -1] if model.history else inputs).detach().cpu()
    found = [features(_unit(x, model.inputs), grid)]
    if beside is not None:
        given = beside.detach().cpu()
        if model.static is None:  # data on a boundary curve, in physical units
            found.append(features(given, spectral=False))
        else:
            found.append(features(_unit(given, model.static), grid))
    return torch.cat(found, 1)


def in_range(
    config: BundleConfig,
    model: PhysicalModel,
    inputs: Tensor,
    beside: Tensor | None = None,
    margin: float = MARGIN,
) -> dict[str, NDArray[np.bool_]]:
    """Say for each input variable whether all values lie in the training range.

    Args:
        config: names of the variables.
        model: its normalisers know the ranges.
        inputs: (batch, [history,] channel, *space), physical units.
        beside: fields given at every step, under ``static``.
        margin: tolerance as a part of each channel's range.
    """
    x = inputs.transpose(1, 2) if model.history else inputs
    inside = _inside(x, model.inputs, margin)
    sizes = [v.channels for v in config.inputs]
    found = {
        v.name: part.all(1).numpy()
        for v, part in zip(config.inputs, torch.split(inside, sizes, 1), strict=True)
    }
    if beside is not None and model.static is not None:
        found["static"] = _inside(beside, model.static, margin).all(1).numpy()
    return found


def _inside(x: Tensor, normaliser: Normaliser, margin: float) -> Tensor:
    flat = x.detach().cpu().flatten(2)
    low, high = (v.detach().cpu()[:, None] for v in (normaliser.low, normaliser.high))
    slack = margin * (high - low)
    return ((flat >= low - slack) & (flat <= high + slack)).all(-1)


def _unit(x: Tensor, normaliser: Normaliser) -> Tensor:
    """Scale channels so that the training values fill [-1, 1]."""
    shape = (-1, *(1,) * (x.ndim - 2))
    low, high = (
        v.detach().cpu().to(x).view(shape) for v in (normaliser.low, normaliser.high)
    )
    half = (high - low) / 2
    half = torch.where(half > 0, half, half.new_ones(()))
    return (x - (high + low) / 2) / half
