"""Random linear PDEs with manufactured solutions."""

from opkit.solvers.manufactured.solver import Manufactured

__all__ = ["Manufactured"]
