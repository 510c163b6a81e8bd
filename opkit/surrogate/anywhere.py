"""Answers at any points of the domain, from an operator or between its nodes.

    u(x) = Σ_j w_j(x) u_j,   w_j(x_i) = δ_ij

An operator whose answer is a function of the place is asked itself. Of others the
answer on the nodes u_j is interpolated: on elements by their own basis functions,
along an axis of a grid linearly, along a periodic axis by the trigonometric polynomial
through all nodes,

    w_j(x) = (1 + 2 Σ_{0<k<n/2} cos k (x - x_j) [+ cos n/2 (x - x_j)]) / n.

Between nodes that are moved each cell of the grid is two triangles. All of it has
gradients with respect to the points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opkit.case.contract import points_of
from opkit.elements.basis import EDGES
from opkit.elements.transfer import locate
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.interface import MovesNodes
from opkit.surrogate.adapters import arrays
from opkit.surrogate.bundle import forward
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.checks.interface import Context
from opkit.surrogate.checks.nodes import with_points

BLOCK = 4096
"""Points whose weights of all nodes of an axis are held at once."""
SLACK = 1e-9
"""Part of the domain's length by which a point may lie outside it, as rounding does."""
COLUMNS = ("x", "y", "z", "time")
"""Order of the coordinates of points that are given without names."""

Predict = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class Points:
    """Places that answers are wanted at.

    Args:
        names: of the coordinates.
        values: (point, coordinate), float64, differentiable.
    """

    names: tuple[str, ...]
    values: Tensor

    def described(self, row: int) -> str:
        """Say which point it is, for messages."""
        pairs = zip(self.names, self.values[row].tolist(), strict=True)
        return f"point {row} ({', '.join(f'{n} = {v:g}' for n, v in pairs)})"

    @property
    def coordinates(self) -> dict[str, Any]:
        """Coordinates of a dim ``point``, for xarray."""
        columns = self.values.detach().cpu().numpy().T
        return {
            name: ("point", column)
            for name, column in zip(self.names, columns, strict=True)
        }


class Anywhere:
    """Asks one surrogate at any points.

    Args:
        config: record of the surrogate.
        model: of the surrogate.
        shape: what its operator was built for.
    """

    def __init__(
        self, config: BundleConfig, model: PhysicalModel, shape: DataShape | MeshShape
    ) -> None:
        self.config, self.model, self.shape = config, model, shape
        self.names: tuple[str, ...] = config.axes
        if isinstance(shape, MeshShape):
            self.names = tuple("xyz"[: shape.points.shape[1]])
        self._context = Context(config, model)
        self._moved = bool(shape.point_axes) or self._moves()
        takes_places = bool(shape.point_axes) or isinstance(shape, MeshShape)
        self._native = takes_places and forward.answers_anywhere(model)

    @property
    def how(self) -> str:
        """In words, where answers between the nodes come from."""
        if self._native:
            return "the operator itself"
        if self._moved:
            return "linear interpolation between moved nodes"
        if isinstance(self.shape, MeshShape):
            return f"basis functions of the elements, of degree {self.shape.degree}"
        if forward.answers_anywhere(self.model):
            return "the operator itself"
        axes = zip(self.names, self.shape.periodic, strict=True)
        ways = {name: ("linear", "trigonometric")[wraps] for name, wraps in axes}
        if len(set(ways.values())) == 1:
            return f"{next(iter(ways.values()))} interpolation"
        parts = ", ".join(f"{way} along {name}" for name, way in ways.items())
        return f"interpolation, {parts}"

    def points(self, at: Any) -> Points:
        """Take points as a user gives them.

        Args:
            at: (point, coordinate) with the columns x, y, z, time of those that the
                domain has, (point,) where it has one; or a dict or xarray.Dataset of
                (point,) by name.

        Raises:
            OpkitInputError: other names or shapes, or values that are not finite.
        """
        names = self.names
        if isinstance(at, Mapping):
            at = {str(name): values for name, values in at.items()}
            if set(at) != set(names):
                raise OpkitInputError(
                    f"at has the coordinates {', '.join(at) or 'none'}: give "
                    f"{', '.join(names)}"
                )
            columns = [arrays.as_tensor(at[name]).double() for name in names]
            if any(c.ndim != 1 or c.shape != columns[0].shape for c in columns):
                pairs = zip(names, columns, strict=True)
                shapes = ", ".join(f"{name} {tuple(c.shape)}" for name, c in pairs)
                raise OpkitInputError(f"at has {shapes}: give one (point,) for each")
            values = torch.stack(columns, 1)
        else:
            values = arrays.as_tensor(at).double()
            if values.ndim == 1 and len(names) == 1:
                values = values[:, None]
            order = [name for name in COLUMNS if name in names]
            if values.ndim != 2 or values.shape[1] != len(names):
                raise OpkitInputError(
                    f"at has shape {tuple(values.shape)}: give (point, {len(names)}) "
                    f"with the columns {', '.join(order)}, or a dict by these names"
                )
            values = values[:, [order.index(name) for name in names]]
        points = Points(names, values)
        finite = values.detach().isfinite().all(1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise OpkitInputError(f"at: {points.described(row)} is not finite")
        return points

    def ask(self, predict: Predict, points: Points) -> Predict:
        """Return the function from a batch to answers (batch, ..., point).

        Args:
            predict: gives answers on the nodes (batch, ..., *space).
            points: where answers are wanted.

        Raises:
            OpkitInputError: a point lies outside the domain, or which do is not known.
        """
        kind = self.config.case.get("geometry", {}).get("kind", "grid")
        if kind not in ("grid", "mesh"):
            raise OpkitInputError(
                f"at: the domain is cut out of its grid (geometry {kind}), and which "
                "points lie inside is not known here: ask at the nodes"
            )
        if self._native:
            return partial(self._asked, points)
        if self._moved:
            return partial(self._between_moved, predict, points)
        if isinstance(self.shape, MeshShape):
            on_elements = _on_elements(self.shape.points, self.shape.cells, points)
            return lambda batch: on_elements(predict(batch))
        unit = self._unit(points)
        if forward.answers_anywhere(self.model):
            return lambda batch: forward.at(self.model, batch, unit)
        periodic = self.shape.periodic
        return lambda batch: between(predict(batch), unit, periodic)

    def _unit(self, points: Points) -> Tensor:
        """Return points in the unit cube; those on periodic axes wrap around.

        Raises:
            OpkitInputError: a point lies outside the domain.
        """
        columns = []
        geometry = self.config.case.get("geometry", {}).get("extent", {})
        for k, name in enumerate(self.names):
            length = self.shape.extent[k] or 1.0
            of_case = geometry[name][0] if name in geometry else 0.0
            start = self.config.axis_starts.get(name, of_case)
            unit = (points.values[:, k] - start) / length
            outside = (unit < -SLACK) | (unit > 1 + SLACK)
            if not self.shape.periodic[k] and outside.any():
                row = int(outside.nonzero()[0])
                raise OpkitInputError(
                    f"at: {points.described(row)} lies outside the domain, {name} from "
                    f"{start:g} to {start + length:g}"
                )
            columns.append(unit)
        return torch.stack(columns, 1)

    def _moves(self) -> bool:
        """Whether the case's solver moves the nodes.

        Nodes of cases without numbers per sample stay.

        Raises:
            CaseError: the solver is not known here.
            MissingExtraError: it is not installed.
        """
        if not self.config.case.get("parameters"):
            return False
        try:
            return isinstance(self._context.case_solver.solver, MovesNodes)
        except (CaseError, MissingExtraError) as error:
            raise type(error)(
                f"whether nodes move is not known without the solver: {error}"
            ) from error

    def _nodes(self, batch: Inputs) -> np.ndarray[Any, Any]:
        """Return where the nodes of each sample lie, (batch, *space, d)."""
        if self.shape.point_axes:
            placed = with_points(batch, self._context, self.shape)
            return placed.need("points").cpu().double().numpy()
        mover = self._context.case_solver
        assert isinstance(mover.solver, MovesNodes)
        return points_of(mover.solver, mover.inputs(batch), batch.batch)

    def _between_moved(self, predict: Predict, points: Points, batch: Inputs) -> Tensor:
        """Interpolate between the nodes of each sample.

        Raises:
            OpkitInputError: a point lies outside the domain of a sample, nodes in
                space, or derivatives that lack the motion of the nodes.
        """
        if any(part.requires_grad for part in batch.by_role.values()):
            raise OpkitInputError(
                "at: nodes move with the inputs, and derivatives with respect to these "
                "at points that stay are not known: ask at the nodes, or detach inputs"
            )
        nodes = self._nodes(batch)
        cells = self._cells(nodes.shape[-1])
        if cells is None:
            raise OpkitInputError("at: nodes that move in space are not offered yet")
        named = self._ordered(points, nodes.shape[-1])
        ways = self._between(nodes, cells, named)
        outputs = predict(batch)
        flat = outputs.flatten(-len(self.shape.shape))
        answers = [way(own) for way, own in zip(ways, flat, strict=True)]
        return torch.stack(answers) if answers else flat[..., :0]

    def _asked(self, points: Points, batch: Inputs) -> Tensor:
        """Ask the operator, which takes places in the coordinates of the nodes.

        Raises:
            OpkitInputError: a point lies outside the domain, where it has cells.
        """
        shape = self.shape
        if shape.point_axes:
            batch = with_points(batch, self._context, shape)
            nodes = batch.need("points").detach().cpu().double().numpy()
            named = self._ordered(points, shape.point_axes)
            cells = self._cells(shape.point_axes)
            if cells is not None:
                self._between(nodes, cells, named)
        else:
            assert isinstance(shape, MeshShape)
            named = points
            _on_elements(shape.points, shape.cells, named)
        return forward.at(self.model, batch, named.values)

    def _cells(self, axes: int) -> np.ndarray[Any, Any] | None:
        """Cells between the nodes of a sample; None where they are not known."""
        if isinstance(self.shape, MeshShape):
            return self.shape.cells
        if axes == 2 and len(self.shape.shape) == 2:
            return _triangles(self.shape.shape, self.shape.periodic)
        return None

    def _ordered(self, points: Points, axes: int) -> Points:
        """Return points with their columns in the order of the nodes' coordinates."""
        names = tuple("xyz"[:axes])
        if isinstance(self.shape, MeshShape):
            return Points(names, points.values)
        order = [self.names.index(name) for name in names]  # given by the grid's axes
        return Points(names, points.values[:, order])

    def _between(
        self, nodes: np.ndarray[Any, Any], cells: np.ndarray[Any, Any], points: Points
    ) -> list[Callable[[Tensor], Tensor]]:
        """Return the interpolation of each sample between its nodes.

        Raises:
            OpkitInputError: a point lies outside a sample's domain.
        """
        ways = []
        for k, own in enumerate(nodes):
            try:
                flat = own.reshape(-1, own.shape[-1])
                ways.append(_on_elements(flat, cells, points))
            except OpkitInputError as error:
                raise OpkitInputError(f"{error} of sample {k}") from None
        return ways


def between(values: Tensor, unit: Tensor, periodic: tuple[bool, ...]) -> Tensor:
    """Interpolate values on a grid, (..., *space) to (..., point).

    Args:
        values: on the nodes.
        unit: (point, axis) in the unit cube, float64.
        periodic: which axes wrap around, and are trigonometric; others are linear.
    """
    shape = values.shape[-len(periodic) :]
    parts = []
    for block in torch.split(unit.to(values.device), BLOCK):
        way = [(_linear, _trigonometric)[wraps] for wraps in periodic]
        *others, last = (
            weights(block[:, k], n).to(values.dtype)
            for k, (weights, n) in enumerate(zip(way, shape, strict=True))
        )
        part = values @ last.T
        for weight in reversed(others):
            part = torch.einsum("...ip,pi->...p", part, weight)
        parts.append(part)
    return torch.cat(parts, -1)


def _linear(x: Tensor, n: int) -> Tensor:
    """Weights (point, node) of n nodes with both ends of the unit interval."""
    if n == 1:
        return torch.ones_like(x)[:, None]
    place = x * (n - 1)
    left = place.detach().floor().long().clamp(0, n - 2)
    fraction = (place - left)[:, None]
    hats = torch.eye(n, dtype=x.dtype, device=x.device)
    return hats[left] * (1 - fraction) + hats[left + 1] * fraction


def _trigonometric(x: Tensor, n: int) -> Tensor:
    """Weights (point, node) of n nodes on a circle of length 1."""
    k = torch.arange(1, n // 2 + 1, dtype=x.dtype, device=x.device)
    nodes = torch.arange(n, dtype=x.dtype, device=x.device) / n
    factor = torch.full_like(k, 2.0)
    if n % 2 == 0:
        factor[-1] = 1.0  # of a wave that nodes see half of
    here, there = (2 * torch.pi * place[:, None] * k for place in (x, nodes))
    waves = here.cos() * factor @ there.cos().T + here.sin() * factor @ there.sin().T
    return (1 + waves) / n


def _on_elements(
    nodes: np.ndarray[Any, Any], cells: np.ndarray[Any, Any], points: Points
) -> Callable[[Tensor], Tensor]:
    """Return the interpolation from (..., node) to (..., point) on a mesh.

    Raises:
        OpkitInputError: a point lies outside the mesh.
    """
    dimension = nodes.shape[1]
    x = points.values
    try:
        cell, _ = locate(nodes, cells, x.detach().cpu().numpy(), beside=False)
    except OpkitInputError as error:
        raise OpkitInputError(f"at: {error}") from None
    corners = torch.from_numpy(nodes[cells[cell, : dimension + 1]]).to(x)
    edges = (corners[:, 1:] - corners[:, :1]).transpose(1, 2)
    inner = x - corners[:, 0]
    if len(x):  # not every library of linear algebra takes none
        inner = torch.linalg.solve(edges, inner[..., None])[..., 0]
    basis = torch.cat([1 - inner.sum(1, keepdim=True), inner], 1)
    if cells.shape[1] > dimension + 1:  # degree 2
        one, other = zip(*EDGES[: 3 if dimension == 2 else 6], strict=True)
        middle = 4 * basis[:, list(one)] * basis[:, list(other)]
        basis = torch.cat([basis * (2 * basis - 1), middle], 1)
    chosen = torch.from_numpy(cells[cell])

    def interpolate(values: Tensor) -> Tensor:
        return (values[..., chosen.to(values.device)] * basis.to(values)).sum(-1)

    return interpolate


def _triangles(
    shape: tuple[int, ...], periodic: tuple[bool, ...]
) -> np.ndarray[Any, Any]:
    """Two triangles (cell, 3) for each quadrilateral of a grid of two axes."""
    index = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    for axis, wraps in enumerate(periodic):
        if wraps:
            index = np.concatenate([index, np.take(index, [0], axis)], axis)
    a, b, c, d = (
        index[:-1, :-1].ravel(),
        index[1:, :-1].ravel(),
        index[1:, 1:].ravel(),
        index[:-1, 1:].ravel(),
    )
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
