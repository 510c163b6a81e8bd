"""Type a linear PDE, get a function."""

from typing import TYPE_CHECKING

from opkit.base.face import late

if TYPE_CHECKING:
    from opkit.hypino.solution import PDE, Solution, solve
    from opkit.hypino.weights import load, save
    from opkit.hypino.written import Written, state_problem
    from opkit.pde.problem import Disk, Polygon, Rectangle, read_hole

_MODULES = {
    "PDE": "opkit.hypino.solution",
    "Solution": "opkit.hypino.solution",
    "solve": "opkit.hypino.solution",
    "Written": "opkit.hypino.written",
    "state_problem": "opkit.hypino.written",
    "save": "opkit.hypino.weights",
    "load": "opkit.hypino.weights",
    "Disk": "opkit.pde.problem",
    "Polygon": "opkit.pde.problem",
    "Rectangle": "opkit.pde.problem",
    "read_hole": "opkit.pde.problem",
}
__all__ = [
    "PDE",
    "Disk",
    "Polygon",
    "Rectangle",
    "Solution",
    "Written",
    "load",
    "read_hole",
    "save",
    "solve",
    "state_problem",
]
__getattr__, __dir__ = late(__name__, _MODULES)
