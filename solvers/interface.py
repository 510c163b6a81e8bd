"""What every classical solver offers: sample, solve in batches, residual.

A solver is a frozen pydantic dataclass (``@solver_dataclass``): its fields are the
numerical and physical parameters, validated on construction, plus ``resolution`` and
``distribution`` (the law of its random inputs). A case constructs it as
``Target(resolution=..., distribution=..., **parameters)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

Fields = Mapping[str, NDArray[np.floating]]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def solver_dataclass[T](cls: type[T]) -> type[T]:
    """Make a frozen, keyword-only dataclass whose fields pydantic validates."""
    config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)
    made: type[T] = pydantic_dataclass(  # type: ignore[assignment]
        cls, frozen=True, kw_only=True, config=config
    )
    return made


@dataclass(frozen=True)
class Coordinate:
    """Values of one dimension.

    Args:
        values: one-dimensional, increasing.
        units: UDUNITS string; ``"1"`` where nondimensional.
        long_name: for axes of figures.
    """

    values: NDArray[np.float64]
    units: str = "1"
    long_name: str = ""


@dataclass(frozen=True)
class Solution:
    """What a solve hands back.

    Args:
        outputs: variable name to array (batch, *dims), float64.
        error: the solver's own error measure, one number a sample (batch,).
        measure: what that number is, such as ``"relative residual (L2)"``.
        details: further per-sample numbers (batch,), such as iteration counts.
    """

    outputs: Fields
    error: NDArray[np.float64]
    measure: str
    details: Fields = field(default_factory=dict)


class Solver(Protocol):
    """The interface between cases, data generation, and classical solvers.

    Arrays are float64. ``inputs`` and ``outputs`` map the case's variable names to
    arrays whose trailing dimensions are the case's dims for that variable.
    """

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Coordinates by dimension name (``time``, ``layer``, ``y``, ``x``, ...)."""
        ...

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one sample of the inputs, without a batch dimension.

        The same generator state gives the same field at every resolution (up to the
        modes the grid can hold).
        """
        ...

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch of inputs (leading batch dimension).

        A sample's result does not depend on what else is in the batch, bit for bit.

        Raises:
            SolverError: not converged, CFL violated, or not finite: nothing wrong is
                ever handed out.
            OpkitInputError: inputs of a wrong shape, not finite, or out of range.
        """
        ...

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Measure how well outputs solve the PDE for these inputs, one number a sample.

        0 is exact. For elliptic problems the relative residual ||b - A u|| / ||b|| of
        the discrete equations; for time-dependent ones the relative change from
        re-advancing stored states (each record from the one before). Works on data
        stored as float32.
        """
        ...
