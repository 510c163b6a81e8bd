"""From a data file on a mesh to what an operator is told about it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from opkit.case import parse_case
from opkit.datasets.field_dataset import channel_names
from opkit.datasets.header import Header, VariableSpec
from opkit.errors import DataError, OpkitInputError
from opkit.operators.mesh_shape import MeshShape
from opkit.recipe import Recipe

Place = Literal["node", "cell"]


def mesh_shape(header: Header, recipe: Recipe) -> MeshShape:
    """Describe the file's mesh, its Dirichlet nodes, and nested coarser meshes.

    Dirichlet nodes and coarser meshes come from the case's solver where it offers
    ``dirichlet()`` and ``hierarchy()``; data without a case have neither.

    Raises:
        DataError: inputs on nodes and on cells, or outputs that are not on the nodes.
        OpkitInputError: a mode or stride that a mesh does not have.
    """
    if recipe.mode != "map" or recipe.subsample != 1:
        raise OpkitInputError("on a mesh: leave mode at map and subsample at 1")
    if header.mesh is None:
        raise DataError("the file has no mesh")
    places = {_place(v) for v in header.inputs}
    if len(places) != 1 or {_place(v) for v in header.outputs} != {"node"}:
        raise DataError(
            "operators on meshes take inputs that are all on nodes or all on cells "
            "and give outputs on nodes: import the data so"
        )
    nodes = len(header.mesh.points)
    outputs = sum(len(channel_names(v)) for v in header.outputs)
    solver: Any = parse_case(header.case).build_solver() if header.case else None
    fixed, given = np.zeros(nodes, bool), np.zeros((outputs, nodes))
    if hasattr(solver, "dirichlet"):
        fixed, given = solver.dirichlet()
    coarse = solver.hierarchy() if hasattr(solver, "hierarchy") else ()
    return MeshShape(
        in_channels=sum(len(channel_names(v)) for v in header.inputs),
        out_channels=outputs,
        inputs_on=places.pop(),
        points=np.asarray(header.mesh.points, np.float64),
        cells=np.asarray(header.mesh.cells, np.int64),
        fixed=np.asarray(fixed, bool),
        given=np.asarray(given, np.float64),
        coarse=tuple(coarse),
    )


def _place(variable: VariableSpec) -> Place:
    places: list[Place] = [d for d in ("node", "cell") if d in variable.dims]
    if len(places) != 1:
        raise DataError(f"{variable.name} has dims {variable.dims}, not node or cell")
    return places[0]
