"""What both problems of a cell with a void have in common: its grid, and stability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opkit.base.arrays import Array
from opkit.errors import SolverError
from opkit.solvers.fem import newton
from opkit.solvers.fem.quads.grids import QuadGrid, o_grid, ray_angles
from opkit.solvers.fem.quads.solution import Values
from opkit.solvers.fem.quads.solver import Across, Around, GridSolver
from opkit.solvers.interface import Sides, all_sides, solver_dataclass
from opkit.solvers.laws import shapes

if TYPE_CHECKING:
    from opkit.solvers.fem.quads.space import GridSystem


@solver_dataclass
class CellSolver(GridSolver):
    """Base of the solvers on the unit square less a void.

    Args:
        resolution: points outwards (odd) and around (a multiple of 8).
        load_steps: see `GridSolver`.
        rtol: see `GridSolver`.
        path_tolerance: see `GridSolver`.
    """

    coarser = ((12, 60), (8, 40), (6, 40), (6, 32), (4, 24), (3, 20), (2, 16), (2, 12))

    resolution: tuple[Across, Around] = (33, 160)

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: outwards, then counter-clockwise."""
        outwards, around = self.resolution
        return QuadGrid((outwards - 1) // 2, around // 2, periodic=True)

    def sides(self) -> Sides:
        """Around the void (x) the grid closes; free on it, held and moved outside."""
        return {
            **all_sides("periodic", "x"),
            "bottom": {"kind": "neumann", "value": 0.0},
            "top": {"kind": "mixed", "value": 0.0},
        }

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The void."""
        return {"void": (2 * shapes.VOID_MODES,)}

    def nodes(self, sample: Values) -> Array:
        """Nodes (node, 2) of one sample.

        Raises:
            OpkitInputError: a void that crosses the edge of the cell.
        """
        radius = shapes.void_radius(sample["void"], ray_angles(self.grid))
        return o_grid(self.grid, radius)


def stable(system: GridSystem, state: newton.State) -> newton.State:
    """Return the state.

    Raises:
        SolverError: its energy has a direction in which it falls.
    """
    if system.unstable_modes(state.x):
        raise SolverError(f"the state at {system.label(1.0)} is unstable: buckling")
    return state
