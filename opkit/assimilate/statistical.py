"""Analyses with a fixed covariance of the background: the floor for filters.

    u = b + B Hᵀ (H B Hᵀ + R)⁻¹ (y − H b),   B = s / (K − 1) Σ_k (c_k − c̄)(c_k − c̄)ᵀ

c_k: K climatological states. Optimal interpolation takes b = c̄ and s = 1 and knows no
model; 3D-Var takes the forecast as b, with s below 1, and is the minimum of its cost
function because H is linear.

Source: Daley, Atmospheric Data Analysis, Cambridge 1991, chapters 4 and 13.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from opkit.assimilate.observations import ErrorCovariance, Observation
from opkit.base.arrays import Array
from opkit.errors import OpkitInputError


@dataclass(frozen=True)
class OptimalInterpolation:
    """The climatological mean, corrected by observations.

    Args:
        climatology: states (state, *space), two or more.
    """

    climatology: Array = field(repr=False)

    least = 1

    def __post_init__(self) -> None:
        _check_climatology(self.climatology)

    def analyse(
        self,
        ensemble: Array,
        values: Array,
        observation: Observation,
        errors: ErrorCovariance,
        rng: np.random.Generator,
    ) -> Array:
        """Return the analysis once for each member; see `Filter.analyse`."""
        _check_linear(observation, self.climatology)
        background = self.climatology.mean(0)
        one = _corrected(
            background[None], self.climatology, 1.0, values, observation, errors
        )
        return np.broadcast_to(one, ensemble.shape).copy()


@dataclass(frozen=True)
class ThreeDVar:
    """Each member, corrected by observations with a fixed covariance.

    Args:
        climatology: states (state, *space), two or more.
        scale: s, variance of forecast errors relative to the climatological one.
    """

    climatology: Array = field(repr=False)
    scale: float = 0.02

    least = 1

    def __post_init__(self) -> None:
        _check_climatology(self.climatology)
        if not 0 < self.scale < np.inf:
            raise OpkitInputError(
                f"scale {self.scale}: the covariance of the background has to be "
                "positive: give a number above 0"
            )

    def analyse(
        self,
        ensemble: Array,
        values: Array,
        observation: Observation,
        errors: ErrorCovariance,
        rng: np.random.Generator,
    ) -> Array:
        """Return the corrected members; see `Filter.analyse`."""
        _check_linear(observation, self.climatology)
        return _corrected(
            ensemble, self.climatology, self.scale, values, observation, errors
        )


def _check_climatology(states: Array) -> None:
    if len(states) < 2:
        raise OpkitInputError(
            f"a climatology of {len(states)} states has no covariance: give 2 or more"
        )
    if not np.isfinite(states).all():
        raise OpkitInputError("the climatology is not finite: remove such states")


def _check_linear(observation: Observation, states: Array) -> None:
    """Refuse operators that do not add up."""
    one, two = states[:1], states[1:2]
    together = observation(one + two) + observation(0 * one)
    apart = observation(one) + observation(two)
    if not np.allclose(together, apart, rtol=1e-6, atol=1e-9 * np.abs(apart).max()):
        raise OpkitInputError(
            "optimal interpolation and 3D-Var need a linear observation operator: take "
            "the ETKF"
        )


def _corrected(
    background: Array,
    climatology: Array,
    scale: float,
    values: Array,
    observation: Observation,
    errors: ErrorCovariance,
) -> Array:
    seen = np.isfinite(values)
    part = errors.part(seen)
    factor = np.sqrt(scale / (len(climatology) - 1))
    spread = factor * (climatology - climatology.mean(0))
    observed = observation(climatology)[:, seen]
    s = part.whiten(factor * (observed - observed.mean(0)))
    innovation = part.whiten(values[seen] - observation(background)[:, seen])
    # (S Sᵀ + I)⁻¹ where there are fewer observations, (Sᵀ S + I)⁻¹ where fewer states
    if s.shape[1] <= s.shape[0]:
        weights = s @ np.linalg.solve(s.T @ s + np.eye(s.shape[1]), innovation.T)
    else:
        weights = np.linalg.solve(s @ s.T + np.eye(len(s)), s @ innovation.T)
    change = weights.T @ spread.reshape(len(spread), -1)
    corrected: Array = background + change.reshape(background.shape)
    return corrected
