"""Ensemble transform Kalman filters, global and local.

    C = S Sᵀ / (M − 1),   w = (I + C)⁻¹ S d / (M − 1),   T = (I + C)^(−1/2)
    mean ← mean + w A,    A ← α Ω T A

A: anomalies of the M members (member, number); S: those of the observed members and d
the innovation of the mean, both made white by R; α: inflation; Ω: a random rotation
that keeps the mean. The local filter has one C for each grid point, in which the
precision of each observation is weighed by its distance.

Sources: Bishop, Etherton, Majumdar, Mon. Weather Rev. 129 (2001); Hunt, Kostelich,
Szunyogh, Physica D 230 (2007); Sakov and Oke, Mon. Weather Rev. 136 (2008), rotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from opkit.assimilate.observations import ErrorCovariance, Observation
from opkit.assimilate.places import gaspari_cohn
from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

_NUMBERS = 2**22
"""Most numbers in the matrices of a block of grid points."""


class Filter(Protocol):
    """Turns forecasts into analyses."""

    @property
    def least(self) -> int:
        """Fewest members that it works with."""
        ...

    def analyse(
        self,
        ensemble: Array,
        values: Array,
        observation: Observation,
        errors: ErrorCovariance,
        rng: np.random.Generator,
    ) -> Array:
        """Return the analysed members.

        Args:
            ensemble: forecasts (member, *space).
            values: y (observation,); NaN where there is none.
            observation: H.
            errors: R, of all observations.
            rng: for what is random.
        """
        ...


@dataclass(frozen=True)
class ETKF:
    """Ensemble transform Kalman filter, symmetric root.

    Args:
        inflation: α, factor of the analysed anomalies, 1 or more.
        rotate: by a random rotation that keeps the mean.
    """

    inflation: float = 1.0
    rotate: bool = True

    least = 2

    def __post_init__(self) -> None:
        _check_inflation(self.inflation)

    def analyse(
        self,
        ensemble: Array,
        values: Array,
        observation: Observation,
        errors: ErrorCovariance,
        rng: np.random.Generator,
    ) -> Array:
        """Return the analysed members; see `Filter.analyse`."""
        members = len(ensemble)
        mean, anomalies = _split(ensemble)
        s, d, _ = _white(ensemble, values, observation, errors)
        weights, root = _transform(s @ s.T, s @ d, members)
        change = self.inflation * root
        if self.rotate:
            change = rotation(members, rng) @ change
        flat = anomalies.reshape(members, -1)
        analysed: Array = (weights + change) @ flat
        return mean + analysed.reshape(ensemble.shape)


@dataclass(frozen=True)
class LETKF:
    """Local ensemble transform Kalman filter, with observations weighed by distance.

    Args:
        radius: of Gaspari and Cohn's taper, in the unit of the grid; observations
            beyond twice the radius do not count.
        inflation: α, factor of the analysed anomalies, 1 or more.
        rotate: by a random rotation that keeps the mean, the same everywhere.
    """

    radius: float
    inflation: float = 1.0
    rotate: bool = False

    least = 2

    def __post_init__(self) -> None:
        _check_inflation(self.inflation)
        if not 0 < self.radius < np.inf:
            raise OpkitInputError(f"radius {self.radius}: give a positive number")

    def analyse(
        self,
        ensemble: Array,
        values: Array,
        observation: Observation,
        errors: ErrorCovariance,
        rng: np.random.Generator,
    ) -> Array:
        """Return the analysed members; see `Filter.analyse`.

        Raises:
            OpkitInputError: observations without places, or with correlated errors.
        """
        if observation.places is None:
            raise OpkitInputError(
                "localisation needs to know where observations lie: give their places, "
                "or take the ETKF"
            )
        if not errors.diagonal:
            raise OpkitInputError(
                "localisation needs observations with errors of their own: give "
                "variances, or take the ETKF"
            )
        grid, members = observation.grid, len(ensemble)
        mean, anomalies = _split(ensemble)
        s, d, seen = _white(ensemble, values, observation, errors)
        layers = len(seen) // len(observation.places)
        places = np.tile(observation.places, (layers, 1))[seen]
        products = (s[:, None] * s[None]).reshape(members**2, -1).T
        towards = (s * d).T
        turn = rotation(members, rng) if self.rotate else np.eye(members)
        # (member, layer, point)
        flat = anomalies.reshape(members, -1, grid.size)
        analysed = np.empty_like(flat)
        block = max(_NUMBERS // max(members**2, len(places), 1), 1)
        for begin in range(0, grid.size, block):
            points = np.arange(begin, min(begin + block, grid.size))
            taper = gaspari_cohn(grid.distances(places, points), self.radius)
            c = (taper @ products).reshape(-1, members, members)
            weights, root = _transform(c, taper @ towards, members)
            change = weights[:, None] + self.inflation * (turn @ root)
            local = np.moveaxis(flat[..., points], 2, 0)  # (point, member, layer)
            analysed[..., points] = np.moveaxis(change @ local, 0, 2)
        return mean + analysed.reshape(ensemble.shape)


def rotation(members: int, rng: np.random.Generator) -> Array:
    """Return a random orthogonal matrix whose rows each sum to one.

    Anomalies, which sum to zero, then still do, with the same covariance.
    """
    columns = np.concatenate(
        [np.ones((members, 1)), rng.standard_normal((members, members - 1))], axis=1
    )
    basis = np.linalg.qr(columns)[0]
    inner = np.linalg.qr(rng.standard_normal((members - 1, members - 1)))
    turned = inner[0] * np.sign(np.diag(inner[1]))  # uniform over the group
    whole = np.eye(members)
    whole[1:, 1:] = turned
    matrix: Array = basis @ whole @ basis.T
    return matrix


def _check_inflation(inflation: float) -> None:
    if not 1 <= inflation < np.inf:
        raise OpkitInputError(f"inflation {inflation}: give a number from 1 on")


def _split(ensemble: Array) -> tuple[Array, Array]:
    mean = ensemble.mean(0)
    return mean, ensemble - mean


def _white(
    ensemble: Array, values: Array, observation: Observation, errors: ErrorCovariance
) -> tuple[Array, Array, Array]:
    """Return white anomalies (member, seen), innovation (seen,), and what is seen."""
    seen = np.isfinite(values)
    observed = observation(ensemble)[:, seen]
    part, mean = errors.part(seen), observed.mean(0)
    return part.whiten(observed - mean), part.whiten(values[seen] - mean), seen


def _transform(products: Array, towards: Array, members: int) -> tuple[Array, Array]:
    """Return weights w (..., member) and root T (..., member, member).

    Args:
        products: S Sᵀ (..., member, member).
        towards: S d (..., member).
        members: M.
    """
    size, vectors = np.linalg.eigh(products / (members - 1))
    size = np.maximum(size, 0)  # round-off of what is not negative
    transposed = np.swapaxes(vectors, -1, -2)
    projected = transposed @ towards[..., None] / (members - 1)
    weights = (vectors @ (projected / (1 + size[..., None])))[..., 0]
    root = (vectors / np.sqrt(1 + size)[..., None, :]) @ transposed
    return weights, root
