"""The two-dimensional vorticity equation, compiled and in array code."""

from opkit.solvers.navier_stokes.solver import NavierStokes

__all__ = ["NavierStokes"]
