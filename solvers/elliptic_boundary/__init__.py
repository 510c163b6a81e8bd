"""Poisson problems with data on the boundary of a square less corners."""

from opkit.solvers.elliptic_boundary.solver import EllipticBoundary

__all__ = ["EllipticBoundary"]
