"""Where the nodes of each sample lie, for operators that are given their places.

Whoever asks for a prediction need not say: the case's solver knows where it puts them.
Gradients with respect to the numbers of a sample go through its places and weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from opkit.case.contract import points_of
from opkit.elements.weights import NodeWeights, of_grid
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.interface import MovesNodes
from opkit.surrogate.checks.case_solver import CaseSolver
from opkit.surrogate.checks.interface import Context

Place = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Numbers (batch, parameter) to points (batch, *space, d), weights (batch, *space)."""
STEP = 1e-5
"""Half step of central differences, of the size of a number: their error is its
square, and rounding in float64 stays below 1e-10."""


def with_points(
    inputs: Inputs, context: Context, shape: DataShape | MeshShape
) -> Inputs:
    """Add points and weights to inputs that lack them, where the operator is given any.

    Args:
        inputs: a batch in physical units.
        context: the surrogate, for the case's solver.
        shape: what its operator was built for.

    Raises:
        OpkitInputError: points are not given, and no solver says where they are; or
            gradients are asked for that the weights stand in the way of.
    """
    if not shape.point_axes or inputs.sample is not None:
        return inputs
    if isinstance(shape, DataShape) and shape.ragged:
        return _of_cloud(inputs, shape)
    if inputs.points is None:
        solver = moving_solver(context)
        numbers = inputs.parameters

        def place(values: Tensor) -> tuple[Tensor, Tensor]:
            batch = inputs._replace(parameters=values)
            fields = context.case_solver.inputs(batch)
            points = points_of(solver, fields, len(values))
            return torch.from_numpy(points), torch.from_numpy(weights_of(points, shape))

        if numbers is None:
            raise OpkitInputError(f"inputs lack points: {_give(shape)}")
        points, weights = _Placed.apply(numbers, place)
        kind = inputs.fields
        return inputs._replace(points=points.to(kind), weights=weights.to(kind))
    if inputs.weights is not None:
        return inputs
    points = inputs.points
    if points.requires_grad and torch.is_grad_enabled():
        raise OpkitInputError(
            "gradients with respect to points need the weights that follow from them: "
            "give weights as well, or leave points out and ask for gradients with "
            "respect to the numbers of the sample"
        )
    space = shape.shape
    axes = len(space)
    if points.ndim != axes + 2 or points.shape[-1] != shape.point_axes:
        raise OpkitInputError(
            f"points have shape {tuple(points.shape)}: {_give(shape)}"
        )
    weights = weights_of(points.detach().cpu().double().numpy(), shape)
    return inputs._replace(weights=torch.from_numpy(weights).to(points))


def _of_cloud(inputs: Inputs, shape: DataShape) -> Inputs:
    """Refuse inputs of a mesh or cloud that lack points or weights."""
    points, weights, count = inputs.points, inputs.weights, inputs.fields.shape[-1]
    if points is None or tuple(points.shape[1:]) != (count, shape.point_axes):
        have = "no points" if points is None else f"points {tuple(points.shape)}"
        raise OpkitInputError(
            f"inputs of {count} nodes have {have}: give points (batch, {count}, "
            f"{shape.point_axes})"
        )
    if weights is None or tuple(weights.shape[1:]) != (count,):
        raise OpkitInputError(
            f"inputs lack weights: give weights (batch, {count}), the area or volume "
            "of each node (opkit.elements.weights.NodeWeights), equal ones for a cloud"
        )
    return inputs


def weights_of(points: Any, shape: DataShape | MeshShape) -> Any:
    """Return quadrature weights (batch, *space) of points (batch, *space, d).

    Raises:
        OpkitInputError: another number of nodes than the mesh has.
    """
    if not isinstance(shape, MeshShape):
        return of_grid(points, len(shape.shape), shape.periodic)
    nodes = len(shape.points)
    if points.shape[1] != nodes:
        raise OpkitInputError(
            f"{points.shape[1]} points, the mesh this surrogate was trained on has "
            f"{nodes} nodes: {_give(shape)}"
        )
    return NodeWeights(shape.cells, nodes, points.shape[-1])(points)


def moving_solver(context: Context) -> MovesNodes:
    """Return the case's solver, which says where the nodes of a sample lie.

    Raises:
        CaseError: the solver is not known here.
        MissingExtraError: it is not installed.
        OpkitInputError: it does not move nodes.
    """
    try:
        case_solver: CaseSolver = context.case_solver
    except (CaseError, MissingExtraError) as error:
        raise type(error)(
            f"inputs lack points, and no solver says where they are ({error}): give "
            "points (batch, *space, d)"
        ) from error
    if not isinstance(case_solver.solver, MovesNodes):
        raise OpkitInputError(
            "inputs lack points, and the case's solver does not move nodes: give "
            "points (batch, *space, d)"
        )
    return case_solver.solver


def _give(shape: DataShape | MeshShape) -> str:
    return (
        f"give points (batch, {', '.join(map(str, shape.shape))}, {shape.point_axes})"
    )


class _Placed(torch.autograd.Function):
    """Points and weights of numbers, with gradients by central differences."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Place the nodes."""
        ctx.save_for_backward(numbers)
        ctx.place = place
        return place(numbers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient with respect to the numbers."""
        (numbers,) = ctx.saved_tensors
        values = numbers.detach().cpu().double()
        slopes = torch.zeros_like(values)
        for k in range(values.shape[1]):
            step = torch.zeros_like(values)
            step[:, k] = STEP * values[:, k].abs().clamp(min=1e-2)
            after, before = ctx.place(values + step), ctx.place(values - step)
            for gradient, high, low in zip(gradients, after, before, strict=True):
                change = (high - low) * gradient.cpu().double()
                slopes[:, k] += change.flatten(1).sum(1) / (2 * step[:, k])
        return slopes.to(numbers), None
