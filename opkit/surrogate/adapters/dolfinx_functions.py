"""dolfinx Functions in, dolfinx Functions out.

A mesh of dolfinx numbers its cells and degrees of freedom in its own order: both are
matched to the surrogate's by where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import MeshShape
from opkit.surrogate.bundle.record import BundleConfig

TOLERANCE = 1e-6
"""Distance at which points are the same, of the mesh's size: files are single
precision."""


def is_functions(inputs: Any) -> bool:
    """Whether inputs are a Function or a mapping with one; needs no dolfinx."""
    if isinstance(inputs, Mapping):
        return any(is_functions(value) for value in inputs.values())
    return type(inputs).__module__.partition(".")[0] == "dolfinx"


def apply(
    predict: Callable[[Inputs], Tensor],
    inputs: Any,
    config: BundleConfig,
    mesh: MeshShape,
) -> Any:
    """Call ``predict`` on Functions and return Functions on their mesh.

    Args:
        predict: maps fields (1, in_channel, node or cell) to (1, out_channel, node).
        inputs: a Function, or a mapping of variables' names to Functions; in the
            Lagrange space of the surrogate's mesh and degree, or of degree 0 for inputs
            on cells. Blocked spaces are the channels of one variable.
        config: record of the surrogate.
        mesh: that it was trained on.

    Returns:
        A Function, or a dict of them by name where there are several outputs.

    Raises:
        OpkitInputError: variables that are missing, or a function on another mesh, of
            another degree, or of an MPI-parallel mesh.
    """
    from opkit.solvers.fem.stack import fem

    if not isinstance(inputs, Mapping):
        inputs = {config.inputs[0].name: inputs}
    names = [v.name for v in config.inputs]
    if sorted(inputs) != sorted(names):
        raise OpkitInputError(f"give one Function for each of {', '.join(names)}")
    columns = []
    for variable in config.inputs:
        function = inputs[variable.name]
        order = _order(function.function_space, mesh, mesh.inputs_on, variable.name)
        values = np.asarray(function.x.array).reshape(len(order), -1)
        if values.shape[1] != variable.channels:
            raise OpkitInputError(
                f"{variable.name} has {values.shape[1]} components, expected "
                f"{variable.channels}"
            )
        sorted_values = np.empty_like(values)
        sorted_values[order] = values
        columns.append(torch.from_numpy(sorted_values.T.copy()))
    outputs = predict(Inputs(torch.cat(columns)[None]))[0].detach().numpy()
    domain = function.function_space.mesh
    functions, first = {}, 0
    for variable in config.outputs:
        shape = (variable.channels,) if variable.channels > 1 else ()
        space = fem.functionspace(domain, ("Lagrange", mesh.degree, shape))
        order = _order(space, mesh, "node", variable.name)
        result = fem.Function(space, name=variable.name)
        rows = outputs[first : first + variable.channels]
        result.x.array[:] = rows[:, order].T.ravel()
        functions[variable.name] = result
        first += variable.channels
    return functions if len(functions) > 1 else next(iter(functions.values()))


def _order(space: Any, mesh: MeshShape, on: str, name: str) -> NDArray[np.int64]:
    """Number in the surrogate's mesh of each degree of freedom of a space."""
    from opkit.solvers.fem.stack import mesh as dolfinx_mesh

    domain = space.mesh
    if domain.comm.size > 1:
        raise OpkitInputError(f"{name} is spread over processes: give it on one")
    dimension = mesh.points.shape[1]
    if domain.topology.dim != dimension:
        raise OpkitInputError(
            f"{name} is on a mesh of dimension {domain.topology.dim}, the surrogate's "
            f"has {dimension}"
        )
    corners = mesh.points[mesh.cells[:, : dimension + 1]]
    centres = corners.mean(axis=1)
    count = domain.topology.index_map(dimension).size_local
    middles = dolfinx_mesh.compute_midpoints(
        domain, dimension, np.arange(count, dtype=np.int32)
    )
    _match(middles[:, :dimension], centres, f"{name}: cell")
    where = space.tabulate_dof_coordinates()[:, :dimension]
    places = mesh.points if on == "node" else centres
    return _match(where, places, f"{name}: degree of freedom")


def _match(where: Any, places: Any, what: str) -> NDArray[np.int64]:
    size = np.ptp(places, axis=0).max()
    distance, number = cKDTree(places).query(where)
    if distance.max() > TOLERANCE * size:
        worst = int(np.argmax(distance > TOLERANCE * size))
        at = ", ".join(f"{x:g}" for x in where[worst])
        raise OpkitInputError(
            f"{what} {worst} at ({at}) is not one of the surrogate's mesh: interpolate "
            "the function to that mesh and degree, or rebuild the surrogate on this one"
        )
    if len(where) != len(places):
        raise OpkitInputError(
            f"{what}s: {len(where)}, the surrogate's mesh has {len(places)}: give the "
            "function on that mesh"
        )
    matched: NDArray[np.int64] = number
    return matched
