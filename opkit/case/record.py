"""Cases: a PDE problem as a validated record, read from YAML.

A case is data, never code. It names its solver as ``"module:Name"`` out of an
allow-list (built in, or an installed entry point of the group ``opkit.solvers``), and
everything made from it carries the resolved case as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import is_pydantic_dataclass

from opkit.base.explain import explain
from opkit.base.records import Record
from opkit.base.show import Shown, grid
from opkit.case.laws import MOST_COMPONENTS, MOST_SOBOL, Design, Parameter
from opkit.case.mesh_file import names_file
from opkit.case.quantities import Quantity
from opkit.case.recipe import Recipe
from opkit.errors import CaseError, nearest
from opkit.solvers import solver_class

if TYPE_CHECKING:
    from opkit.datasets.header import Mesh
    from opkit.solvers.interface import Solver

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Dimension = Literal[
    "time", "layer", "z", "y", "x", "boundary", "node", "cell", "component"
]
SPACE: tuple[Dimension, ...] = ("z", "y", "x")
MOST = 10**9
"""Samples of a split, and points along an axis."""


class SolverChoice(Record):
    """Which solver, with which parameters, in which units.

    Args:
        target: ``"module:Name"`` of a solver that is built in or installed.
        parameters: what its fields are set to; one may be ``{kind: file, path: ...}``.
        units: of each parameter, or ``nondimensional``.
    """

    target: str
    parameters: dict[str, Any] = Field(default={})
    units: Literal["nondimensional"] | dict[str, str] = "nondimensional"

    @model_validator(mode="after")
    def _every_parameter_has_units(self) -> SolverChoice:
        if isinstance(self.units, dict):
            missing = sorted(self.parameters.keys() - self.units.keys())
            if missing:
                raise ValueError(
                    f"no units for {', '.join(missing)}: add them to units"
                )
        return self


class Geometry(Record):
    """The domain: kind and extent of each axis.

    Args:
        kind: of the domain; ``meshes`` where each sample has a mesh of its own.
        extent: axis to (low, high), in the order of the arrays.
        units: of the axes.
    """

    kind: Literal["grid", "grid-with-holes", "mesh", "meshes", "boundary"] = "grid"
    extent: dict[Literal["z", "y", "x"], tuple[float, float]]
    units: str = "nondimensional"

    @property
    def nests(self) -> bool:
        """Whether every second, third, ... grid point is a grid of the same domain."""
        return self.kind == "grid"

    @model_validator(mode="after")
    def _increasing(self) -> Geometry:
        for axis, (low, high) in self.extent.items():
            if not low < high:
                raise ValueError(f"extent of {axis}: {low} is not below {high}")
        return self


class Side(Record):
    """The boundary condition on one side of the domain.

    Args:
        kind: of the condition.
        value: of u or its normal derivative; ``input`` where each sample has its own.
    """

    kind: Literal["periodic", "dirichlet", "neumann", "mixed"]
    value: float | Literal["input"] = 0.0


class Variable(Record):
    """A physical field, or what belongs to a whole sample: name, dims, units.

    ``dims: [time]`` is a function of time, ``dims: []`` a number and ``dims:
    [component]`` with a ``size`` a short vector. Inputs that are numbers with a law of
    the case's stand under its ``parameters``.

    Args:
        name: of the variable in files and dicts.
        dims: axes of an array of it, without that of the samples.
        units: UDUNITS string; ``"1"`` where nondimensional.
        long_name: for axes of figures.
        size: components of a short vector.
    """

    name: Identifier
    dims: tuple[Dimension, ...]
    units: str
    long_name: str = ""
    size: int | None = Field(default=None, ge=2, le=MOST_COMPONENTS)

    @model_validator(mode="after")
    def _vector_has_size(self) -> Variable:
        if "component" in self.dims and self.dims != ("component",):
            raise ValueError(f"{self.name}: component is for short vectors alone")
        if (self.dims == ("component",)) != (self.size is not None):
            raise ValueError(
                f"{self.name}: a short vector has dims [component] and a size, such "
                "as size: 3"
            )
        return self

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a size that is none, so that stored cases stay what they were."""
        data: dict[str, Any] = handler(self)
        if self.size is None:
            del data["size"]
        return data


class Samples(Record):
    """How many samples each split has.

    Args:
        train: to learn from.
        validation: to choose the best epoch, and to calibrate error bounds with.
        test: to measure errors on, never seen before.
    """

    train: int = Field(ge=0, le=MOST)
    validation: int = Field(default=0, ge=0, le=MOST)
    test: int = Field(default=0, ge=0, le=MOST)


class Case(Shown, Record):
    """One named PDE problem: equation, geometry, inputs, discretisation, recipes.

    Args:
        name: lower-case words with hyphens.
        version: raised whenever samples of the same seed become others.
        title: one line.
        equation: the PDE with its conditions, as text.
        references: where it comes from.
        solver: the classical solver.
        geometry: the domain.
        resolution: grid points along each axis, or what the solver's mesh is made by.
        boundary: condition on each side or named part.
        distribution: law of the random input fields; the solver says which keys it has.
        inputs: fields and functions of time that are given.
        parameters: numbers per sample, by name, each with its law.
        design: how numbers per sample are drawn.
        outputs: what is solved for.
        quantities: numbers computed from the outputs, by name, that users care about.
        lyapunov_time: of a chaotic case, the time in which small errors grow by e.
        samples: how many.
        recipes: how operators are trained on it, by name.
    """

    name: Name
    version: int = Field(ge=1)
    title: str
    equation: str
    references: tuple[str, ...] = ()
    solver: SolverChoice
    geometry: Geometry
    resolution: (
        Annotated[int, Field(ge=2, le=MOST)]
        | tuple[Annotated[int, Field(ge=1, le=MOST)], ...]
    )
    boundary: dict[str, Side]
    distribution: dict[str, Any] = Field(default={})
    inputs: tuple[Variable, ...] = ()
    parameters: dict[Identifier, Parameter] = Field(default={})
    design: Design = "random"
    outputs: tuple[Variable, ...] = Field(min_length=1)
    quantities: dict[Identifier, Quantity] = Field(default={})
    lyapunov_time: float | None = Field(default=None, gt=0)
    samples: Samples
    recipes: dict[Name, Recipe] = Field(default={})
    _mesh: Mesh | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _has_inputs(self) -> Case:
        shaped = self.geometry.kind == "meshes"  # shapes may be the only input
        if not (self.inputs or self.parameters or shaped):
            raise ValueError("no inputs: list input fields, or parameters with laws")
        twice = sorted(
            {v.name for v in (*self.inputs, *self.outputs)} & self.parameters.keys()
        )
        if twice:
            raise ValueError(f"{twice[0]} is a parameter and a field: rename one")
        components = sum(math.prod(law.shape) for law in self.parameters.values())
        if self.design == "sobol" and components > MOST_SOBOL:
            raise ValueError(
                f"design sobol takes {MOST_SOBOL} components of parameters at most, "
                f"not {components}: take design random"
            )
        outputs = {v.name for v in self.outputs}
        for name, quantity in self.quantities.items():
            used = set(quantity.outputs)
            if name in outputs:
                raise ValueError(f"quantities.{name}: an output has that name: rename")
            for other in self.outputs:
                if other.name in used and not set(other.dims) - {"time", "component"}:
                    raise ValueError(
                        f"quantities.{name}: {other.name} is no field but a number or "
                        "a series: quantities are functionals of fields; leave it out"
                    )
            for missing in sorted(used - outputs):
                raise ValueError(
                    f"quantities.{name}: there is no output {missing!r}."
                    f"{nearest(missing, outputs)}"
                )
            if quantity.number and quantity.number not in self.parameters:
                raise ValueError(
                    f"quantities.{name}: there is no number per sample "
                    f"{quantity.number!r}.{nearest(quantity.number, self.parameters)}"
                )
            layered = [v.name for v in self.outputs if "layer" in v.dims]
            for layers_of in sorted(used & set(layered)):
                raise ValueError(
                    f"quantities.{name}: {layers_of} has layers, which quantities do "
                    "not tell apart yet: leave it out"
                )
        return self

    @property
    def identity(self) -> str:
        """Name and version, such as ``darcy-v1``."""
        return f"{self.name}-v{self.version}"

    @property
    def space(self) -> tuple[str, ...]:
        """Names of the spatial axes in array order, such as ``("y", "x")``."""
        return tuple(axis for axis in SPACE if axis in self.geometry.extent)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of grid points along each spatial axis."""
        if isinstance(self.resolution, int):
            return (self.resolution,) * len(self.geometry.extent)
        return self.resolution

    @property
    def periodic(self) -> dict[str, bool]:
        """Whether each spatial axis is periodic."""
        sides = {"x": ("left", "right"), "y": ("bottom", "top"), "z": ("back", "front")}
        return {
            axis: all(
                side in self.boundary and self.boundary[side].kind == "periodic"
                for side in sides[axis]
            )
            for axis in self.space
        }

    def _facts(self) -> dict[str, Any]:
        return {
            "case": self.identity,
            "title": self.title,
            "equation": self.equation,
            "grid": grid(self.shape),
            "inputs": ", ".join(v.name for v in self.inputs) or None,
            "parameters": ", ".join(self.parameters) or None,
            "outputs": ", ".join(v.name for v in self.outputs),
            "recipes": ", ".join(self.recipes),
        }

    # pydantic defines both of its own
    __repr__ = Shown.__repr__
    __str__ = Shown.__repr__

    def dump(self) -> dict[str, Any]:
        """Return the resolved case as plain JSON types.

        Keys that say nothing are left out, so that the text of a case without
        parameters, and its hash, stay what they were.
        """
        data: dict[str, Any] = json.loads(self.model_dump_json())
        if not self.parameters:
            del data["parameters"], data["design"]
        if not self.quantities:
            del data["quantities"]
        if self.lyapunov_time is None:
            del data["lyapunov_time"]
        return data

    def on_mesh(self, mesh: Mesh | None) -> Case:
        """Return this case, which will build its solver on a stored mesh.

        A mesh without groups, as of built-in domains and of old files, changes nothing.
        """
        if mesh is None or mesh.groups is None:
            return self
        case = self.model_copy()
        case._mesh = mesh
        return case

    def _typical(self, target: Any) -> dict[str, Any]:
        """Medians of parameters per sample that the solver also has as its own.

        Raises:
            CaseError: the case gives such a parameter a law and a value.
        """
        own = self.parameters.keys() & _fields_of(target).keys()
        for name in sorted(own & self.solver.parameters.keys()):
            raise CaseError(
                f"case {self.name}: {name} has a law under parameters and a value "
                "under solver.parameters: leave one of them away"
            )
        return {
            name: law.quantile(np.full(law.shape, 0.5)).tolist()
            for name, law in self.parameters.items()
            if name in own
        }

    def build_solver(self) -> Solver:
        """Construct this case's solver, on the mesh of `on_mesh` if there is one.

        Raises:
            CaseError: target not allowed or not importable, parameters it does not
                take, a solver without one of its four methods, or one that solves with
                other boundary conditions or on another domain than the case says.
            OpkitInputError: the stored mesh is none that the solver could have had.
            MissingExtraError: the solver needs an extra that is not installed.
        """
        from opkit.case.agreement import refuse_other_problem

        solver = self.construct_solver()
        refuse_other_problem(self, solver)
        return solver

    def construct_solver(self) -> Solver:
        """Construct the solver without asking whether it solves what the case says.

        Raises:
            CaseError: as `build_solver`, but for the last two.
            OpkitInputError: the stored mesh is none that the solver could have had.
            MissingExtraError: the solver needs an extra that is not installed.
        """
        from opkit.case.contract import check_methods, check_parameters

        target = solver_class(self.solver.target)
        arguments = {**self.solver.parameters, "resolution": self.shape}
        arguments |= self._typical(target)
        if self.distribution or _requires(target, "distribution"):
            arguments["distribution"] = self.distribution
        try:
            solver: Solver = target(**arguments)
        except ValidationError as error:
            lacking = [e["loc"][0] for e in error.errors() if e["type"] == "missing"]
            for name in self.parameters:
                hint = nearest(name, map(str, lacking))
                if hint and name not in _fields_of(target):
                    raise CaseError(
                        f"case {self.name}: parameters: {target.__name__} takes no "
                        f"{name!r} per sample.{hint}"
                    ) from None
            raise CaseError(
                f"case {self.name}: solver: {explain(error, target)}"
            ) from None
        except (ValueError, TypeError) as error:
            raise CaseError(f"case {self.name}: solver: {error}") from error
        check_methods(solver)
        shapes = {name: law.shape for name, law in self.parameters.items()}
        check_parameters(solver, shapes, f"case {self.name}")
        mesh = self._mesh
        if mesh is not None and mesh.groups is not None:
            from opkit.solvers.interface import ReadsMesh

            if isinstance(solver, ReadsMesh):
                return solver.on_mesh(mesh.points, mesh.cells, mesh.groups)
        return solver


def _fields_of(target: Any) -> Mapping[str, Any]:
    return target.__pydantic_fields__ if is_pydantic_dataclass(target) else {}


def _requires(target: Any, parameter: str) -> bool:
    """Whether a solver has a parameter without a default: empty means its defaults."""
    field = _fields_of(target).get(parameter)
    return field is not None and field.is_required()


def parse_case(
    data: Mapping[str, Any], origin: str = "case", mesh: Mesh | None = None
) -> Case:
    """Validate plain data into a `Case`.

    Args:
        data: of the case.
        origin: where the data come from, for messages.
        mesh: stored with the case; see `Case.on_mesh`.

    Raises:
        CaseError: one line that names the first fault, and the nearest known key.
    """
    if not isinstance(data, Mapping):
        raise CaseError(f"{origin}: a case is a mapping of keys to values")
    try:
        return Case.model_validate(data).on_mesh(mesh)
    except ValidationError as error:
        raise CaseError(f"{origin}: {explain(error, Case, data)}") from None


def parse_stored(
    data: Mapping[str, Any], origin: str, mesh: Mesh | None = None
) -> Case:
    """Validate a case that a data file or a bundle holds.

    Args:
        data: of the case.
        origin: where the data come from, for messages.
        mesh: stored with the case.

    Raises:
        CaseError: as `parse_case`; or it names a mesh file, which is not followed.
    """
    solver = data.get("solver") if isinstance(data, Mapping) else None
    if (mesh is None or mesh.groups is None) and names_file(solver):
        raise CaseError(
            f"{origin}: its case names a mesh file and the mesh is not stored with it: "
            "files that a file names are not followed. Generate it again with the mesh"
        )
    return parse_case(data, origin, mesh)
