"""Darcy flow on a grid."""

from opkit.solvers.darcy.solver import Darcy

__all__ = ["Darcy"]
