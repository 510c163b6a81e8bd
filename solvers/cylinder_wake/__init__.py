"""Unsteady flow past a cylinder in a channel: the vortex street behind it."""

from opkit.solvers.cylinder_wake.solver import CylinderWake

__all__ = ["CylinderWake"]
