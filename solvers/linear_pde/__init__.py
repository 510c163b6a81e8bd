"""One linear PDE by closed forms or finite elements."""

from opkit.solvers.linear_pde.reference import Reference, refer
from opkit.solvers.linear_pde.solver import LinearPDE
from opkit.solvers.linear_pde.spectrum import EigenvalueError

__all__ = ["EigenvalueError", "LinearPDE", "Reference", "refer"]
