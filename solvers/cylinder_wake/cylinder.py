"""The numbers of one sample."""

from __future__ import annotations

from dataclasses import dataclass

TURNS = 3
"""Turns of the cylinder to and fro at the start: they break the mirror symmetry."""
_STROUHAL = 0.3  # of those turns


@dataclass(frozen=True)
class Cylinder:
    """Reynolds number, place and size of a cylinder; the mean velocity is 1."""

    reynolds: float
    centre: tuple[float, float]
    radius: float

    @property
    def diameter(self) -> float:
        """2 r."""
        return 2 * self.radius

    @property
    def viscosity(self) -> float:
        """ν = 2 r U / Re."""
        return self.diameter / self.reynolds

    @property
    def turn(self) -> float:
        """Time of one of the first turns to and fro."""
        return self.diameter / _STROUHAL

    @property
    def rests(self) -> float:
        """Time from which the cylinder does not turn any more."""
        return TURNS * self.turn

    def __str__(self) -> str:
        x, y = self.centre
        return (
            f"CylinderWake: reynolds {self.reynolds:.4g}, centre ({x:.4g}, {y:.4g}), "
            f"radius {self.radius:.4g}"
        )
