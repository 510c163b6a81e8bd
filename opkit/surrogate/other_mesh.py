"""A surrogate on another mesh than the one it was trained on.

Two ways: `transfer` carries the inputs to the trained mesh and the outputs back, by
interpolation; `rebuild` makes the operator's matrices anew on the other mesh and keeps
its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from opkit.case.catalogue import apply_override
from opkit.case.data import mesh_of
from opkit.case.mesh import mesh_shape, stored_mesh
from opkit.case.mesh_file import absolute_paths
from opkit.case.record import parse_case
from opkit.elements import SparseMatrix, interpolation
from opkit.elements.basis import quadrature
from opkit.elements.transfer import locate
from opkit.errors import OpkitInputError
from opkit.operators.shapes import MeshShape
from opkit.surrogate.adapters.refuse import with_finite
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.surrogate import Surrogate

Predict = Callable[[Tensor], Tensor]


def transfer(surrogate: Surrogate, mesh: MeshShape) -> Predict:
    """Predict on another mesh by interpolation to the trained one and back.

    Inputs on nodes are interpolated; inputs on cells become the mean over each trained
    cell's quadrature points. Values at the other mesh's Dirichlet nodes are the given
    ones; the error added is that of interpolation.

    Args:
        surrogate: on a mesh.
        mesh: the other one, of the same domain.

    Returns:
        (batch, channel, node or cell) to (batch, channel, node), physical units.

    Raises:
        OpkitInputError: no surrogate on a mesh, or a mesh of another domain.
    """
    trained = surrogate.mesh
    _check(trained, mesh)
    there = SparseMatrix(_inputs(trained, mesh))
    back = SparseMatrix(interpolation(trained.points, trained.cells, mesh.points))
    fixed = torch.from_numpy(mesh.fixed)
    boundary_values = torch.from_numpy(mesh.given).float()

    def predict(inputs: Tensor) -> Tensor:
        moved = there(inputs.permute(2, 0, 1)).permute(1, 2, 0)
        outputs = with_finite(surrogate.predict)(moved.contiguous())
        values = back(outputs.permute(2, 0, 1)).permute(1, 2, 0)
        return torch.where(fixed, boundary_values.to(values), values)

    return predict


def rebuild(surrogate: Surrogate, mesh: MeshShape) -> Surrogate:
    """Return the surrogate with its operator on another mesh, weights as they are.

    Args:
        surrogate: of an operator that can move, such as SPON.
        mesh: the other one.

    Raises:
        OpkitInputError: the operator belongs to its mesh, or meshes that do not fit.
    """
    trained = surrogate.mesh
    _check(trained, mesh)
    old = surrogate.model
    operator = old.operator.on(mesh)
    model = PhysicalModel(
        operator,
        old.inputs,
        old.outputs,
        mesh=mesh.tensors(),
        parameters=old.numbers,
    )
    shape = surrogate.config.shape.model_copy(
        update={"shape": mesh.shape, "extent": mesh.extent}
    )
    return Surrogate(model, surrogate.config.model_copy(update={"shape": shape}))


def case_mesh(surrogate: Surrogate, overrides: Sequence[str] = ()) -> MeshShape:
    """The mesh of the surrogate's case with other settings.

    Args:
        surrogate: on a mesh, of a case.
        overrides: such as ``"resolution=32"``.

    Raises:
        OpkitInputError: the surrogate has no case, settings that do not exist, or a
            solver without a mesh.
    """
    trained = surrogate.mesh
    plain = copy.deepcopy(dict(surrogate.config.case))
    if not plain:
        raise OpkitInputError(
            "the surrogate's data came without a case: make a MeshShape"
        )
    for override in overrides:
        apply_override(plain, override)
    case = parse_case(absolute_paths(plain, Path.cwd()))
    moved = any(o.startswith("solver.parameters.domain") for o in overrides)
    solver = (case if moved else case.on_mesh(stored_mesh(trained))).build_solver()
    mesh = mesh_of(solver)
    if mesh is None:
        raise OpkitInputError("the case's solver has no mesh")
    channels = (trained.in_channels, trained.out_channels)
    return mesh_shape(solver, mesh, channels, trained.inputs_on)


def _check(trained: MeshShape, mesh: MeshShape) -> None:
    for name in ("in_channels", "out_channels", "inputs_on"):
        if getattr(trained, name) != getattr(mesh, name):
            raise OpkitInputError(
                f"{name} is {getattr(mesh, name)} on the other mesh, "
                f"{getattr(trained, name)} on the one trained on"
            )


def _inputs(trained: MeshShape, mesh: MeshShape) -> Any:
    """Matrix from inputs on the other mesh to inputs on the trained one."""
    if not mesh.on_cells:
        return interpolation(mesh.points, mesh.cells, trained.points)
    dimension = mesh.points.shape[1]
    where, weight = quadrature(dimension)
    corners = trained.points[trained.cells[:, : dimension + 1]]
    places = np.einsum("qi,cia->cqa", where, corners).reshape(-1, dimension)
    cell = locate(mesh.points, mesh.cells, places)[0]
    rows = np.repeat(np.arange(len(corners)), len(weight))
    shares = np.tile(weight / weight.sum(), len(corners))
    shape = (len(corners), len(mesh.cells))
    return sparse.coo_array((shares, (rows, cell)), shape=shape).tocsr()
