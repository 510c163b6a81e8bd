"""What an operator on a mesh is built for, as the case's solver knows it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from opkit.operators.shapes import MeshShape
from opkit.solvers.interface import Hierarchy, KnowsDirichlet, Solver


def mesh_shape(
    solver: Solver | None,
    points: NDArray[np.floating],
    cells: NDArray[np.integer],
    channels: tuple[int, int],
    inputs_on: Literal["node", "cell"],
) -> MeshShape:
    """Describe a mesh, its Dirichlet nodes, and nested coarser meshes.

    Args:
        solver: knows Dirichlet nodes and coarser meshes, or neither; None for data
            without a case.
        points: nodes (node, d).
        cells: nodes of each cell (cell, corner).
        channels: of inputs and outputs.
        inputs_on: where inputs lie; outputs lie on nodes.
    """
    fixed, values = np.zeros(len(points), bool), np.zeros((channels[1], len(points)))
    if isinstance(solver, KnowsDirichlet):
        fixed, values = solver.dirichlet()
    return MeshShape(
        in_channels=channels[0],
        out_channels=channels[1],
        inputs_on=inputs_on,
        points=np.asarray(points, np.float64),
        cells=np.asarray(cells, np.int64),
        fixed=np.asarray(fixed, bool),
        given=np.asarray(values, np.float64),
        coarse=tuple(solver.hierarchy()) if isinstance(solver, Hierarchy) else (),
    )
