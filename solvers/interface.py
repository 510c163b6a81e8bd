"""What every classical solver offers: sample, solve in batches, residual.

A solver is a frozen pydantic dataclass (``@solver_dataclass``): its fields are the
numerical and physical parameters, validated on construction, plus ``resolution`` and
``distribution`` (the law of its random inputs). A case constructs it as
``Target(resolution=..., distribution=..., **parameters)``.

`Solver` is what every solver offers. What some offer beyond it has a protocol each,
which a solver fulfils by having that method or field; nothing else is declared:

- `OnMesh`, `KnowsDirichlet`, `Hierarchy`: unknowns on a mesh, and what is known of it;
- `ReadsMesh`: the mesh comes from a file, so data files and bundles keep it whole;
- `NamedParts`, `MarksBoundary`: names of the boundary's parts, and their facets;
- `KnowsSides`: the boundary conditions that it solves with;
- `DescribesItself`: texts of a case that follow from the solver's parameters;
- `TakesGuess`: starts from a first guess;
- `Ladder`: knows cheaper, less accurate versions of itself;
- `Driven`: advances by functions of time;
- `Steps`, `Tolerance`: parameters ``records`` and ``rtol`` that others may change;
- `OnDevice`, `Parallel`: parameters ``device`` and ``parallel``;
- `DifferentiableResidual`: the residual on tensors, with gradients;
- `LinearInSource`: the equations A u = b of a sample, for solvers around a surrogate;
- `DifferentiableDirection`: the quality of a search direction on tensors;
- `Parametric`: numbers that differ from sample to sample;
- `MovesNodes`: nodes that lie elsewhere for each sample;
- `KnowsSymmetries`: transformations that map solutions to solutions;
- `KeepsMeans`: outputs whose mean over the domain stays as it is;
- `KeepsSquares`: outputs whose mean square does;
- `Encloses`: proves bounds of its true numbers, given those of others;
- `Forecasts`: advances ensembles in a fixed number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Protocol,
    Self,
    TypeVar,
    dataclass_transform,
    runtime_checkable,
)

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from opkit.base.mesh_groups import MeshGroups
from opkit.errors import CaseError
from opkit.solvers.symmetry import Symmetry

if TYPE_CHECKING:
    from torch import Tensor

Fields = Mapping[str, NDArray[np.floating]]
T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def solver_dataclass(cls: type[T]) -> type[T]:
    """Make a frozen, keyword-only dataclass whose fields pydantic validates."""
    config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)
    solver: type[T] = pydantic_dataclass(  # type: ignore[assignment]
        cls, frozen=True, kw_only=True, config=config
    )
    return solver


@dataclass(frozen=True)
class Coordinate:
    """Values of one dimension.

    Args:
        values: one-dimensional, increasing.
        units: UDUNITS string; ``"1"`` where nondimensional.
        long_name: for axes of figures.
    """

    values: NDArray[np.float64]
    units: str = "1"
    long_name: str = ""


@dataclass(frozen=True)
class Solution:
    """What a solve hands back.

    Args:
        outputs: variable name to array (batch, *dims), float64.
        error: the solver's own error measure, one number per sample (batch,).
        measure: what that number is, such as ``"relative residual (L2)"``; data files
            are not made without it.
        details: further per-sample numbers (batch,), such as iteration counts.
    """

    outputs: Fields
    error: NDArray[np.float64]
    measure: str = ""
    details: Fields = field(default_factory=dict)


@runtime_checkable
class Solver(Protocol):
    """The interface between cases, data generation, and classical solvers.

    Arrays are float64. ``inputs`` and ``outputs`` map the case's variable names to
    arrays whose trailing dimensions are the case's dims for that variable.
    """

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Coordinates by dimension name (``time``, ``layer``, ``y``, ``x``, ...)."""
        ...

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one sample of the inputs, without a batch dimension.

        The same generator state gives the same field at every resolution (up to the
        modes the grid can hold).
        """
        ...

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch of inputs (leading batch dimension).

        A sample's result does not depend on what else is in the batch, bit for bit.

        Raises:
            SolverError: not converged, CFL violated, or not finite: nothing wrong is
                ever handed out.
            OpkitInputError: inputs of a wrong shape, not finite, or out of range.
        """
        ...

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Measure how well outputs solve the PDE for these inputs, one number a sample.

        0 is exact. For elliptic problems the relative residual ||b - A u|| / ||b|| of
        the discrete equations; for time-dependent ones the relative change from
        re-advancing stored states (each record from the one before). Works on data
        stored as float32.
        """
        ...


@runtime_checkable
class OnMesh(Solver, Protocol):
    """A solver whose fields lie on the nodes and cells of a mesh."""

    def mesh(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Nodes (node, d), and the nodes of each cell (cell, corner)."""
        ...


@runtime_checkable
class ReadsMesh(OnMesh, Protocol):
    """A solver whose mesh may come from a file.

    In a case the file is a parameter that holds ``{kind: file, path: ...}``.
    """

    def mesh_groups(self) -> MeshGroups | None:
        """Subdomains and boundary parts of `OnMesh.mesh`; None unless from a file."""
        ...

    def on_mesh(
        self,
        points: NDArray[np.float64],
        cells: NDArray[np.int64],
        groups: MeshGroups,
    ) -> Self:
        """Return this solver on what `mesh` and `mesh_groups` returned, without file.

        Raises:
            OpkitInputError: the solver's mesh does not come from a file, or the arrays
                are no mesh.
        """
        ...


Sides = Mapping[str, Mapping[str, str | float]]
"""Part of the boundary to ``kind`` and ``value``, as a case's ``boundary`` has them."""


def all_sides(kind: str, axes: str = "yx", value: str | float = 0.0) -> Sides:
    """Return one condition on every side of a box.

    Args:
        kind: ``periodic``, ``dirichlet``, ``neumann`` or ``mixed``.
        axes: of the box.
        value: a number, or ``"input"`` where each sample has its own.
    """
    ends = {"x": ("left", "right"), "y": ("bottom", "top"), "z": ("back", "front")}
    return {
        side: {"kind": kind, "value": value} for axis in axes for side in ends[axis]
    }


@runtime_checkable
class KnowsSides(Solver, Protocol):
    """A solver that says with which boundary conditions it solves.

    A case whose ``boundary`` says something else is refused.
    """

    def sides(self) -> Sides:
        """The condition on each part of the boundary for a case's ``boundary``."""
        ...


@runtime_checkable
class DescribesItself(KnowsSides, Protocol):
    """A solver that can say which problem its parameters make it solve."""

    def title(self) -> str:
        """One line for a case's ``title``."""
        ...

    def equation(self) -> str:
        """PDE, domain and boundary conditions for a case's ``equation``."""
        ...


@runtime_checkable
class KnowsDirichlet(Solver, Protocol):
    """A solver on a mesh that says where its outputs are prescribed."""

    def dirichlet(self) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether each node is prescribed (node,), and values (output, node)."""
        ...


@runtime_checkable
class Parametric(Solver, Protocol):
    """A solver that takes numbers per sample, beside or in place of fields.

    `Solver.solve` and the other methods get them in ``inputs`` under their names:
    (batch,) a number, (batch, component) a short vector. The case draws them from its
    laws; `Solver.sample` does not.
    """

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Name to shape, () or (component,), of each number per sample.

        A name that is also a field of the solver has that field as its value where
        the case gives no law; the others must be in every case.
        """
        ...


@runtime_checkable
class MovesNodes(Solver, Protocol):
    """A solver whose grid or mesh has one topology and its own nodes for each sample.

    `Solver.coordinates` and `OnMesh.mesh` then describe the reference domain.
    """

    def points(self, inputs: Fields) -> NDArray[np.float64]:
        """Return where the nodes lie, (batch, *space, d), d = 2 or 3."""
        ...


POINTS, CELLS, FACETS, FACET_PART = "points", "cells", "facets", "facet_part"
MESH_ARRAYS = (POINTS, CELLS, FACETS, FACET_PART)
"""Names under which a `MeshPerSample` has the mesh of a sample among its inputs."""


@dataclass(frozen=True)
class MeshKind:
    """What the meshes of all samples have in common.

    Args:
        dimension: of space, 2 or 3.
        corners: nodes of a cell.
        parts: names of the parts of the boundary, which ``facet_part`` counts from 0.
        box: lowest and highest x, y(, z) of all meshes: the case's extent.
    """

    dimension: int
    corners: int
    parts: tuple[str, ...]
    box: tuple[tuple[float, ...], tuple[float, ...]]


@runtime_checkable
class MeshPerSample(Solver, Protocol):
    """A solver that meshes the domain of each sample: its data files are ragged.

    `Solver.sample` draws a mesh: ``points`` (node, d) float64, ``cells`` (cell, corner)
    int64 in VTK's order, the boundary as ``facets`` (facet, d) and ``facet_part``
    (facet,), and input fields (node,) or (cell,) on it. `Solver.solve` and
    `Solver.residual` are given one sample at a time, all of these with a batch axis of
    length 1, beside its numbers; outputs are (1, node) or (1, cell). The mesh decides
    the shape: a stored or a user's own mesh of this kind can be solved as well.
    """

    def mesh_kind(self) -> MeshKind:
        """What all meshes have in common."""
        ...


@runtime_checkable
class NamedParts(Solver, Protocol):
    """A solver on a mesh whose boundary has named parts."""

    def part_sizes(self) -> Mapping[str, float]:
        """Length, or area in space, of each part."""
        ...


@runtime_checkable
class MarksBoundary(OnMesh, Protocol):
    """A solver on a mesh that says which facets are which part of its boundary.

    Quantities of interest name these parts.
    """

    def boundary_groups(self) -> MeshGroups:
        """Subdomains and boundary parts of `OnMesh.mesh`."""
        ...


@runtime_checkable
class Hierarchy(Solver, Protocol):
    """A solver on a mesh that has coarser meshes nested in it."""

    def hierarchy(
        self,
    ) -> tuple[tuple[NDArray[np.float64], NDArray[np.int64]], ...]:
        """Nodes and cells of the coarser meshes, finest first."""
        ...


@runtime_checkable
class TakesGuess(Solver, Protocol):
    """A solver that starts from a first guess."""

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        """Solve as `Solver.solve` does, from a guess of the outputs.

        A close guess saves work; none changes the accuracy. A guess that does not help
        costs at most the check that tells so.
        """
        ...


@runtime_checkable
class Ladder(Solver, Protocol):
    """A solver that knows cheaper, less accurate versions of itself.

    They are what a surrogate of some error competes with.
    """

    def cheaper(self) -> Sequence[tuple[str, Solver]]:
        """Label and solver of each rung, dearest first.

        Coarser meshes, looser tolerances, fewer load steps, lower order. Each takes the
        same inputs and gives outputs of the same shape on the same nodes as the full
        solver; the prolongation is part of its ``solve``.
        """
        ...


@runtime_checkable
class Steps(Solver, Protocol):
    """A solver with output at times 1, 2, ..., ``records`` of equal intervals."""

    @property
    def records(self) -> int:
        """Number of times, the initial one not among them."""
        ...


@runtime_checkable
class Encloses(Solver, Protocol):
    """A solver that proves how far numbers among the outputs can be from its own."""

    def enclosures(
        self, inputs: Fields, outputs: Fields
    ) -> Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Enclose what `Solver.solve` would give, without solving.

        Args:
            inputs: as `Solver.solve` takes them.
            outputs: what somebody claims to be its outputs.

        Returns:
            By name of some outputs that are numbers, lower and upper bounds (batch,) or
            (batch, component) that hold whatever was claimed.
        """
        ...


@runtime_checkable
class Driven(Steps, Protocol):
    """A solver that advances a state by functions of time, linear between records.

    Its times are 0, 1, ..., ``records`` of equal intervals: outputs begin with the
    initial state, and functions of time with their values there.
    """

    def driven_by(self) -> tuple[str, ...]:
        """Names of the inputs that are functions of time."""
        ...


@runtime_checkable
class Forecasts(Steps, Protocol):
    """A solver that advances many states at once, without a look at its accuracy."""

    def forecast(self, steps: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Prepare an advance by one record interval.

        Args:
            steps: time steps in one record interval.

        Returns:
            Maps states (..., *space) to states one record interval later.
        """
        ...


@runtime_checkable
class KnowsSymmetries(Solver, Protocol):
    """A solver of one evolving field that says which symmetries its equation has."""

    def symmetries(self) -> Mapping[str, Symmetry]:
        """Name, as recipes write it in ``training.symmetries``, to symmetry."""
        ...


@runtime_checkable
class KeepsMeans(Solver, Protocol):
    """A solver of a conservation law, of fields on an even grid."""

    def kept_means(self) -> tuple[str, ...]:
        """Outputs whose mean over the domain is that of the initial state."""
        ...


@runtime_checkable
class KeepsSquares(Solver, Protocol):
    """A solver of an equation without forcing and damping, on an even grid."""

    def kept_squares(self) -> tuple[str, ...]:
        """Outputs whose mean square over the domain is that of the initial state."""
        ...


@runtime_checkable
class Tolerance(Solver, Protocol):
    """A solver whose accuracy is set by a relative tolerance."""

    @property
    def rtol(self) -> float:
        """The tolerance; what it bounds is the solver's own."""
        ...


@runtime_checkable
class OnDevice(Solver, Protocol):
    """A solver that can be told where to compute."""

    @property
    def device(self) -> str:
        """``cpu``, or another device of torch, such as ``cuda``."""
        ...


@runtime_checkable
class Parallel(Solver, Protocol):
    """A solver that can share one sample between the ranks of ``mpiexec``."""

    @property
    def parallel(self) -> bool:
        """Whether it does; then every rank has to call it."""
        ...


@runtime_checkable
class DifferentiableResidual(Solver, Protocol):
    """A solver whose residual is also there for tensors, with gradients."""

    def torch_residual(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> Tensor:
        """As `Solver.residual`, (batch,), of fields (batch, *space) of any size."""
        ...


@dataclass(frozen=True)
class Equations:
    """Symmetric positive definite equations A u = b of one sample.

    Args:
        apply: u -> A u, on arrays of the output's shape that are zero where ``free`` is
            False; so is A u.
        right: b, likewise.
        free: whether each node is an unknown.
        conventional: r -> z, a symmetric positive definite preconditioner.
    """

    apply: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    right: NDArray[np.float64]
    free: NDArray[np.bool_]
    conventional: Callable[[NDArray[np.float64]], NDArray[np.float64]]


@runtime_checkable
class LinearInSource(Solver, Protocol):
    """A solver whose one output is linear in one input field, its source.

    With a residual of the equations in place of the source the output is the error.
    """

    def source_name(self) -> str:
        """Name of the input that is b on the nodes that are free."""
        ...

    def equations(self, inputs: Fields) -> Equations:
        """Return the equations of one sample, inputs without a batch axis.

        Raises:
            OpkitInputError: as `Solver.solve`.
        """
        ...


@runtime_checkable
class DifferentiableDirection(Solver, Protocol):
    """A solver that can say how good its output is as a search direction."""

    def torch_direction(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What the best step along the output u leaves of the residual, and that step.

            |b - s A u| / |b|,   s = uᵀ b / uᵀ A u

        Both are (batch,). Solutions are not needed.
        """
        ...


def with_parameters(solver: T, **values: Any) -> T:
    """Return the same solver with other parameters.

    Raises:
        CaseError: the solver is no dataclass, so what it was made of is not known.
        ValueError: the solver refuses the values.
    """
    if not is_dataclass(solver) or isinstance(solver, type):
        raise CaseError(
            f"{type(solver).__name__} is not a dataclass, so its "
            f"{', '.join(values)} cannot be changed: declare it with @solver_dataclass"
        )
    changed: T = replace(solver, **values)
    return changed
