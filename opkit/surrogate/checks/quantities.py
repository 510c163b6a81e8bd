"""The quantities of interest of a surrogate's predictions, and bounds of their errors.

They are functionals of fields that the case declares, and outputs that are numbers.

The bound of |q(û) - q(u)| is the split-conformal one of `calibration`, with the same
scale σ: the quantile of |q(û) - q(u)| / σ over calibration samples, times σ, in the
quantity's own units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.mesh_groups import MeshGroups
from opkit.case.quantities import BRIEF, Quantity
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import MeshShape
from opkit.solvers.interface import MarksBoundary, MeshPerSample, MovesNodes
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.checks.functionals import evaluate
from opkit.surrogate.checks.interface import Context, Pairs
from opkit.surrogate.checks.places import Place, parts_of


@dataclass(frozen=True)
class Quantified:
    """A quantity of interest of predictions.

    Args:
        value: (batch,), or (batch, step) for rollouts.
        error_bound: of its error, of the same shape; infinite where there are too few
            calibration samples for the coverage, or none.
        units: of both; empty of a function in Python.
        reason: why there is no bound at all, in words.
    """

    value: Array
    error_bound: Array
    units: str
    reason: str = ""


class Quantities:
    """The quantities that a case declares, and the outputs that are numbers.

    Args:
        context: the surrogate.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.config = context, context.config
        declared = self.config.case.get("quantities", {})
        adapter: TypeAdapter[Quantity] = TypeAdapter(Quantity)
        on_space = "time" not in self.config.axes and not self.config.boundary
        self.by_name: dict[str, Quantity] = (
            {name: adapter.validate_python(v) for name, v in declared.items()}
            if on_space
            else {}
        )

    @property
    def units(self) -> dict[str, str]:
        """Units by name: outputs that are numbers, and what the case declares."""
        declared = {name: quantity.units for name, quantity in self.by_name.items()}
        return self._readouts | declared

    @property
    def _readouts(self) -> dict[str, str]:
        """Units of outputs that are numbers, a component of a vector each."""
        return {
            name: v.units
            for v in self.config.outputs
            if v.kind == "numbers"
            for name in (
                [v.name]
                if v.channels == 1
                else [f"{v.name}[{k}]" for k in range(v.channels)]
            )
        }

    def of(self, inputs: Inputs, outputs: Tensor) -> dict[str, Array]:
        """Return each quantity (batch,), or (batch, step) for rollouts, by name.

        Args:
            inputs: of the batch: where nodes are moved, they say where to.
            outputs: (batch, [steps,] channel, *space), physical units.

        Raises:
            CaseError: nodes are moved, and the case's solver is not known here.
            MissingExtraError: the same, and it is not installed.
        """
        if not self.units:
            return {}
        values = outputs.detach().cpu().double().numpy()
        steps = values.shape[1] if self.context.model.history else 0
        if steps:
            values = values.reshape(-1, *values.shape[2:])
        fields = self._by_name(values)
        results = {name: fields[name] for name in self._readouts}
        for name, quantity in self.by_name.items():
            q = self._one(quantity, fields, inputs)
            results[name] = q.reshape(-1, steps) if steps else q
        return results

    def _one(
        self, quantity: Quantity, fields: Mapping[str, Array], inputs: Inputs
    ) -> Array:
        count = len(next(iter(fields.values())))
        numbers = self._numbers(inputs, count)
        if self.config.shape.ragged:
            names = self._part_names
            points = inputs.need("points").detach().cpu().double().numpy()
            shares = inputs.need("weights").detach().cpu().double().numpy()
            places = [
                _ragged_place(inputs, i, x, w, names)
                for i, (x, w) in enumerate(zip(points, shares, strict=True))
            ]
        elif self._moved:
            places = [replace(self._place, points=x) for x in self._points(inputs)]
        else:
            return evaluate(quantity, fields, self._place, numbers)
        each = count // len(places)
        parts = [
            evaluate(
                quantity,
                {name: f[i : i + 1] for name, f in fields.items()},
                places[i // each],
                {name: values[i : i + 1] for name, values in numbers.items()},
            )
            for i in range(count)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _numbers(self, inputs: Inputs, count: int) -> dict[str, Array]:
        """Numbers per sample by name, one for each of so many fields (count,)."""
        if inputs.parameters is None:
            return {}
        values = inputs.parameters.detach().cpu().double().numpy()
        values = np.repeat(values, count // max(len(values), 1), axis=0)
        numbers, start = {}, 0
        for v in self.config.parameters:
            numbers[v.name] = values[:, start]
            start += v.channels
        return numbers

    def _by_name(self, values: Array) -> dict[str, Array]:
        """Outputs by name, (batch, *space); cases refuse quantities of layers."""
        if self.config.shape.packing is not None:
            parts = by_name(torch.from_numpy(values), self.config)
            fields = {name: part.numpy() for name, part in parts.items()}
            for v in self.config.outputs:
                if v.kind == "numbers" and v.channels > 1:
                    names = [f"{v.name}[{k}]" for k in range(v.channels)]
                    fields |= dict(zip(names, fields[v.name].T, strict=True))
            return fields
        fields, start = {}, 0
        for v in self.config.outputs:
            fields[v.name] = values[:, start]
            start += v.channels
        return fields

    @cached_property
    def _part_names(self) -> tuple[str, ...]:
        """Parts of the boundary of samples that have a mesh each."""
        if not any(map(_names_part, self.by_name.values())):
            return ()
        solver = self.context.case_solver.solver
        return solver.mesh_kind().parts if isinstance(solver, MeshPerSample) else ()

    @cached_property
    def _moved(self) -> bool:
        case = self.config.case
        if not case.get("parameters"):
            return False
        return isinstance(self.context.case_solver.solver, MovesNodes)

    def _points(self, inputs: Inputs) -> Array:
        solver = self.context.case_solver.solver
        assert isinstance(solver, MovesNodes)
        return np.asarray(solver.points(self.context.case_solver.inputs(inputs)))

    @cached_property
    def _place(self) -> Place:
        arrays = {n: t.cpu() for n, t in self.context.model.mesh.named_buffers()}
        shape = self.config.shape.build(arrays)
        if isinstance(shape, MeshShape):
            return self._on_mesh(shape)
        extent = self.config.case.get("geometry", {}).get("extent", {})
        coordinates = []
        for axis, n, closed, length in zip(
            self.config.axes, shape.shape, shape.periodic, shape.extent, strict=True
        ):
            low = float(extent.get(axis, (0.0, length))[0])
            points = np.arange(n) / (n if closed else max(n - 1, 1))
            coordinates.append(low + length * points)
        return Place(
            tuple(self.config.axes),
            tuple(coordinates),
            tuple(shape.periodic),
            tuple(shape.extent),
        )

    def _on_mesh(self, shape: MeshShape) -> Place:
        """The mesh, with the parts of its boundary where they are stored or known."""
        mesh, groups = (shape.points, shape.cells), shape.groups
        if groups is None and any(map(_names_part, self.by_name.values())):
            solver = self.context.case_solver.solver
            if isinstance(solver, MarksBoundary):
                groups = solver.boundary_groups()
        if groups is None:
            return Place(("node",), mesh=mesh)
        parts = parts_of(shape.cells, groups, shape.points.shape[1])
        return Place(("node",), mesh=mesh, parts=parts, subdomains=groups.subdomains)


def _ragged_place(
    inputs: Inputs, i: int, points: Array, shares: Array, names: tuple[str, ...]
) -> Place:
    """Where sample i lies, which has a mesh of its own.

    Args:
        inputs: of a batch.
        i: position of the sample in it.
        points: (node, d).
        shares: (node,).
        names: of the parts of the boundary that quantities ask for; empty where none
            does.

    Raises:
        CaseError: they do, and the mesh is not given.
    """
    if not names:
        return Place(("node",), points=points, shares=shares)
    if inputs.cells is None or inputs.facets is None or inputs.facet_part is None:
        raise CaseError(
            "quantities of a part need the mesh of each sample: give cells, facets and "
            "facet_part as well"
        )
    cells = inputs.cells[i].cpu().numpy()
    groups = MeshGroups(
        subdomains=np.zeros(len(cells), np.int64),
        facets=inputs.facets[i].cpu().numpy(),
        parts=inputs.facet_part[i].cpu().numpy(),
        names=names,
    )
    fault = groups.fault(len(points), points.shape[1], len(cells))
    if fault:
        raise OpkitInputError(f"sample {i}: the mesh's {fault}")
    return Place(
        ("node",),
        mesh=(points, cells),
        parts=parts_of(cells, groups, points.shape[1]),
        subdomains=groups.subdomains,
    )


def _names_part(quantity: Quantity) -> bool:
    """Whether a quantity is of a part of a mesh."""
    content = quantity.model_dump()
    return any(content.get(name) is not None for name in BRIEF)


def quantity_errors(
    quantities: Quantities, true: Pairs, outputs: Tensor
) -> dict[str, Array]:
    """Return |q(û) - q(u)| (sample, frame) by name; none without their solver."""
    try:
        here = quantities.of(true.inputs, outputs)
        there = quantities.of(true.inputs, true.outputs)
    except (CaseError, MissingExtraError):
        return {}
    return {
        name: np.abs(value - there[name]).reshape(len(value), -1)
        for name, value in here.items()
    }


def chosen(quantities: Mapping[str, Quantified], name: str) -> Quantified:
    """Return one quantity by name.

    Raises:
        OpkitInputError: there is none of that name, or no bound of its error.
    """
    if name not in quantities:
        known = ", ".join(quantities) or "none"
        raise OpkitInputError(
            f"no quantity {name!r}: the surrogate has {known}; declare it under "
            "quantities in the case and train again, or give a function"
        )
    if quantities[name].reason:
        raise OpkitInputError(
            f"quantity {name} has no error bound: {quantities[name].reason}"
        )
    return quantities[name]
