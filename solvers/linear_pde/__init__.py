"""One linear PDE by closed forms or finite elements."""

from opkit.solvers.linear_pde.solver import LinearPDE

__all__ = ["LinearPDE"]
