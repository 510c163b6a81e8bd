"""The law of random linear PDEs, as a case states it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from opkit.base.records import Record

Share = Annotated[float, Field(ge=0, le=1)]


class ManufacturedDistribution(Record):
    """Law of the random problems.

    Args:
        elliptic, parabolic, hyperbolic: relative frequency of each class.
        min_steps, max_steps: length of the manufactured solution's program.
        frequency: largest |a| and |b| in ψ(a x + b y + c).
        max_holes: holes of an elliptic problem are 0 to this many, uniformly.
        lower_order: probability of each term the class does not need.
        neumann: probability that a side carries ∇u · n and not u.
        corners: probability that an elliptic domain lacks a rectangle at a corner.
        series: share of manufactured solutions that vanish on the sides
            (`manufactured_series`), such as those of concentrated sources.
        zero: probability that each datum of a problem without a label vanishes.
        varied: probability that its source is not constant.
        normalised: bring every problem to unit size (`manufactured_scale`).
    """

    kind: Literal["manufactured"] = "manufactured"
    elliptic: float = Field(default=1.0, ge=0)
    parabolic: float = Field(default=1.0, ge=0)
    hyperbolic: float = Field(default=1.0, ge=0)
    min_steps: int = Field(default=6, ge=1, le=32)
    max_steps: int = Field(default=10, ge=1, le=32)
    frequency: float = Field(default=10.0, gt=0, le=100)
    max_holes: int = Field(default=3, ge=0, le=8)
    lower_order: Share = 0.3
    neumann: Share = 0.25
    corners: Share = 0.0
    series: Share = 0.0
    zero: Share = 0.0
    varied: Share = 0.0
    normalised: bool = False

    @model_validator(mode="after")
    def _some_class_and_some_steps(self) -> ManufacturedDistribution:
        if not sum(self.shares) > 0:
            raise ValueError("every class has frequency 0: give one a positive one")
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps is above max_steps: exchange them")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """Relative frequencies in the order of `CLASSES`."""
        return self.elliptic, self.parabolic, self.hyperbolic
