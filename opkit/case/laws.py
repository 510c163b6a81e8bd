"""Laws of the numbers that differ from sample to sample.

A case declares such parameters by name, with a law and units:

    parameters:
      viscosity: {kind: log-uniform, low: 1e-5, high: 1e-3, units: m2 s-1}
      void: {kind: normal, mean: 0, std: [0.4, 0.3, 0.2], units: "1"}

A list of numbers, or ``size``, makes a short vector. Each law maps a point u of the
unit cube to values by its quantile function, so that random draws and designs from a
Sobol sequence are one mechanism.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array
from opkit.base.records import Record

if TYPE_CHECKING:
    from scipy.stats import qmc

MOST_COMPONENTS = 1000
MOST_SOBOL = 21201  # dimensions for which SciPy has directions
FARTHEST = 9.0  # beyond -Φ⁻¹(2⁻⁵⁴), in standard deviations
Numbers = float | Annotated[tuple[float, ...], Field(min_length=2, max_length=1000)]
Scale = Literal["linear", "log"]
Design = Literal["random", "sobol"]


class Law(Record):
    """What every law has in common.

    Args:
        units: UDUNITS string; ``"1"`` where nondimensional.
        long_name: for axes of figures.
        size: components of a short vector; a single number where None and where no
            list of numbers is given.
    """

    units: str = "1"
    long_name: str = ""
    size: int | None = Field(default=None, ge=2, le=MOST_COMPONENTS)

    @property
    def shape(self) -> tuple[int, ...]:
        """() of a number, (component,) of a short vector."""
        lengths = {len(v) for v in self._numbers() if isinstance(v, tuple)}
        lengths |= set() if self.size is None else {self.size}
        return tuple(lengths)

    @model_validator(mode="after")
    def _one_length(self) -> Law:
        if len(self.shape) > 1:
            raise ValueError("its lists of numbers, or size, have different lengths")
        return self

    @property
    def scale(self) -> Scale:
        """Whether the logarithm is what varies evenly."""
        return "linear"

    @abstractmethod
    def quantile(self, u: Array) -> Array:
        """Return the values (*shape) of a point u (*shape) in (0, 1)."""

    @property
    def support(self) -> tuple[Array, Array]:
        """Smallest and largest possible values (*shape)."""
        none = np.full(self.shape, np.inf)
        return -none, none

    def _numbers(self) -> tuple[Any, ...]:
        return ()


class _Between(Law):
    """A law between two numbers.

    Args:
        low: smallest value; one number, or one for each component.
        high: largest value, likewise.
    """

    low: Numbers
    high: Numbers

    @model_validator(mode="after")
    def _ordered(self) -> _Between:
        low, high = np.broadcast_arrays(self.low, self.high)
        if not (low < high).all():
            raise ValueError("low must be below high")
        with np.errstate(over="ignore"):
            if not np.isfinite(high - low).all():
                raise ValueError("high - low is beyond the range of floats")
        return self

    @property
    def support(self) -> tuple[Array, Array]:
        """Return low and high."""
        low, high = (np.broadcast_to(v, self.shape) for v in (self.low, self.high))
        return low.astype(float), high.astype(float)

    def _numbers(self) -> tuple[Any, ...]:
        return self.low, self.high


class Uniform(_Between):
    """Evenly between ``low`` and ``high``."""

    kind: Literal["uniform"]

    def quantile(self, u: Array) -> Array:
        """Return low + u (high - low)."""
        low, high = self.support
        return low + u * (high - low)


class LogUniform(_Between):
    """The logarithm is even between those of ``low`` and ``high``."""

    kind: Literal["log-uniform"]

    @model_validator(mode="after")
    def _positive(self) -> LogUniform:
        if not np.min(self.low) > 0:
            raise ValueError("low must be above 0")
        return self

    @property
    def scale(self) -> Scale:
        """The logarithm varies evenly."""
        return "log"

    def quantile(self, u: Array) -> Array:
        """Return low (high / low)^u."""
        low, high = self.support
        values: Array = np.exp(np.log(low) + u * (np.log(high) - np.log(low)))
        return values


class Normal(Law):
    """Gaussian with ``mean`` and standard deviation ``std``.

    Args:
        mean: one number, or one for each component.
        std: standard deviation, likewise.
    """

    kind: Literal["normal"]
    mean: Numbers = 0.0
    std: Numbers = 1.0

    @model_validator(mode="after")
    def _positive(self) -> Normal:
        if not np.min(self.std) > 0:
            raise ValueError("std must be above 0")
        with np.errstate(over="ignore"):
            if not np.isfinite(np.abs(self.mean) + FARTHEST * np.abs(self.std)).all():
                raise ValueError("mean + 9 std is beyond the range of floats")
        return self

    def quantile(self, u: Array) -> Array:
        """Return mean + std Φ⁻¹(u)."""
        from scipy.special import ndtri  # doubles the time to load a case

        values: Array = np.asarray(self.mean) + np.asarray(self.std) * ndtri(u)
        return values

    def _numbers(self) -> tuple[Any, ...]:
        return self.mean, self.std


class Choice(Law):
    """One of ``values``, each as likely as the others.

    Args:
        values: numbers to choose from.
    """

    kind: Literal["choice"]
    values: Annotated[tuple[float, ...], Field(min_length=1, max_length=1000)]

    def quantile(self, u: Array) -> Array:
        """Return value number floor(u n)."""
        values = np.asarray(self.values)
        chosen: Array = values[np.minimum(u * len(values), len(values) - 1).astype(int)]
        return chosen

    @property
    def support(self) -> tuple[Array, Array]:
        """Return the smallest and the largest value."""
        return (
            np.full(self.shape, min(self.values)),
            np.full(self.shape, max(self.values)),
        )


Parameter = Annotated[
    Uniform | LogUniform | Normal | Choice, Field(discriminator="kind")
]


def draw(
    laws: Mapping[str, Parameter], design: Design, seed: int, index: int
) -> dict[str, Array]:
    """Draw the parameters of sample i of a seed, float64.

    Args:
        laws: by name, in the order of the case.
        design: ``random`` draws each parameter from a stream of its own, so that one
            more parameter changes no other; ``sobol`` takes point i of one scrambled
            Sobol sequence over all components (Owen, 1998), in the order of the
            parameters' names: a file holds its case with sorted keys.
        seed: of the data set.
        index: i.
    """
    sizes = {name: int(np.prod(laws[name].shape)) for name in sorted(laws)}
    if design == "sobol" and sizes:
        point = _sobol(sum(sizes.values()), seed, index)
        ends = np.cumsum(list(sizes.values()))[:-1]
        parts = dict(zip(sizes, np.split(point, ends), strict=True))
    else:
        parts = {name: _random(name, seed, index, n) for name, n in sizes.items()}
    return {
        name: law.quantile(parts[name].reshape(law.shape)) for name, law in laws.items()
    }


def _random(name: str, seed: int, index: int, size: int) -> Array:
    own = np.random.SeedSequence([seed, index], spawn_key=tuple(name.encode()))
    u = np.random.default_rng(own).random(size)
    return np.clip(u, 2.0**-54, None)


def _sobol(dimension: int, seed: int, index: int) -> Array:
    sequence = _sequence(dimension, seed)
    sequence.reset()
    if index:
        sequence.fast_forward(index)
    point: Array = sequence.random(1)[0]
    return np.clip(point, 2.0**-54, 1 - 2.0**-53)


@lru_cache(maxsize=4)
def _sequence(dimension: int, seed: int) -> qmc.Sobol:
    from scipy.stats import qmc  # takes as long to import as all the rest of a worker

    return qmc.Sobol(dimension, scramble=True, seed=np.random.default_rng(seed))
