"""What an operator on a mesh is built for, as the case's solver knows it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from opkit.datasets.header import Mesh
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.interface import Hierarchy, KnowsDirichlet, Solver


def mesh_shape(
    solver: Solver | None,
    mesh: Mesh,
    channels: tuple[int, int],
    inputs_on: Literal["node", "cell"],
) -> MeshShape:
    """Describe a mesh, its Dirichlet nodes, and nested coarser meshes.

    Args:
        solver: knows Dirichlet nodes and coarser meshes, or neither; None for data
            without a case.
        mesh: nodes and cells, and groups where it came from a file.
        channels: of inputs and outputs.
        inputs_on: where inputs lie; outputs lie on nodes.
    """
    points = mesh.points
    fixed, values = np.zeros(len(points), bool), np.zeros((channels[1], len(points)))
    if channels[1] and isinstance(solver, KnowsDirichlet):
        fixed, values = solver.dirichlet()
    return MeshShape(
        in_channels=channels[0],
        out_channels=channels[1],
        inputs_on=inputs_on,
        points=np.asarray(points, np.float64),
        cells=np.asarray(mesh.cells, np.int64),
        fixed=np.asarray(fixed, bool),
        given=np.asarray(values, np.float64),
        coarse=tuple(solver.hierarchy()) if isinstance(solver, Hierarchy) else (),
        groups=mesh.groups,
    )


def stored_mesh(shape: DataShape | MeshShape) -> Mesh | None:
    """Return the mesh that an operator was built for, None for a grid."""
    if not isinstance(shape, MeshShape):
        return None
    return Mesh(shape.points, shape.cells, shape.groups)
