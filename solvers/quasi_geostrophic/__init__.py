"""Quasi-geostrophic flow in one and two layers."""

from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic

__all__ = ["QuasiGeostrophic"]
