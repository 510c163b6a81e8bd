"""What every neural operator offers, and which data it takes.

An operator is a ``torch.nn.Module`` that knows of no files, cases or normalisers::

    class FNO(Operator):
        accepts: ClassVar[Accepts] = Accepts(("grid",), (1, 2, 3))
        class Options(interface.Options): ...
        def __init__(self, data: DataShape, options: Options): ...
        def forward(self, inputs: Inputs) -> Tensor: ...

``data`` is a `DataShape`, or on a mesh a `MeshShape`. Names of built-in operators are
in `opkit.operators.OPERATORS`; installed packages add theirs through the entry-point
group ``opkit.operators``. `check_acceptance` says whether an operator takes the data,
before anything is built.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from opkit.base.explain import explain
from opkit.errors import OpkitError, OpkitInputError, nearest
from opkit.operators import OPERATORS
from opkit.operators.inputs import Inputs, as_inputs
from opkit.operators.shapes import DataShape, MeshShape

GeometryKind = Literal["grid", "grid-with-holes", "mesh", "boundary"]


class Options(BaseModel):
    """Base of every operator's options: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Accepts:
    """Geometry kinds and numbers of space axes that an operator can work on.

    ``periodic`` is False where it cannot work on periodic axes, ``parameters`` True
    where it takes numbers per sample, ``needs_fields`` False where it can do without
    input fields then, ``points`` True where it takes places and weights of nodes that
    differ from sample to sample, ``ragged`` True where it takes batches of samples with
    different numbers of them (`opkit.datasets.field_dataset.collate`), ``series`` True
    where it takes functions of time of each sample, ``readouts`` True where it gives
    outputs that are no fields: numbers and series (`DataShape.packing`).
    """

    geometries: tuple[GeometryKind, ...]
    dimensions: tuple[int, ...]
    periodic: bool = True
    parameters: bool = False
    needs_fields: bool = True
    points: bool = False
    ragged: bool = False
    series: bool = False
    readouts: bool = False

    @property
    def numbers(self) -> str:
        """Whether it takes numbers per sample, in words."""
        if not self.parameters:
            return "no"
        return "with fields" if self.needs_fields else "with or without fields"


class Operator(nn.Module):
    """Base class of neural operators.

    ``accepts`` says which data it takes. ``physical`` is True where it takes and gives
    physical units; otherwise inputs and outputs are normalised for it. ``direct`` is
    True where `prepare` does all the learning, and no epoch is run.
    """

    accepts: ClassVar[Accepts]
    physical: ClassVar[bool] = False
    direct: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]]

    def __call__(self, inputs: Inputs | Tensor, *args: Any, **kwargs: Any) -> Any:
        """Call the operator on `Inputs`, or on a tensor of fields."""
        return super().__call__(as_inputs(inputs), *args, **kwargs)

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Look at all training samples, by role, before the first step."""

    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for weights of these shapes by name, before they are loaded.

        For operators with buffers whose size follows from the training samples.

        Raises:
            OpkitInputError: no such weights can be the operator's.
        """

    def on(self, data: MeshShape) -> Operator:
        """Return this operator, with its weights, on another mesh.

        Raises:
            OpkitInputError: it keeps to the mesh it was built for.
        """
        raise OpkitInputError(
            f"{type(self).__name__} keeps to the mesh it was built for: transfer to it"
        )


@runtime_checkable
class KnowsDeviation(Protocol):
    """An operator that says how uncertain its answer is."""

    def deviation(self, inputs: Inputs) -> Tensor:
        """Standard deviation of the answer (batch, out_channel, *space).

        In the units of the answer: normalised, unless the operator is physical.
        """
        ...


@runtime_checkable
class KnowsGain(Protocol):
    """An operator with a Lipschitz constant that is known, not measured."""

    def gain(self) -> float:
        """Bound of |û(z) - û(z')| / |z - z'| for any two fields z on its grid.

        Euclidean norms of normalised values, at the same numbers per sample; inf where
        its options give none.
        """
        ...


@runtime_checkable
class AnswersAnywhere(Protocol):
    """An operator whose answer is a function of the place, not values at nodes."""

    def at(self, inputs: Inputs, points: Tensor) -> Tensor:
        """Answer at points, (batch, out_channel, point).

        Args:
            inputs: as for a call.
            points: (point, axis), differentiable: in the unit cube of a grid, in the
                coordinates of the nodes of a mesh or of samples with their own.
        """
        ...


def operator_names() -> dict[str, str]:
    """Return name to ``"module:Class"`` of every operator, built in or installed."""
    points = entry_points(group="opkit.operators")
    return {point.name: point.value for point in points} | OPERATORS


def operator_class(name: str) -> type[Operator]:
    """Return the class of an operator, built in or of an installed package.

    Raises:
        OpkitInputError: the name is unknown, or what is installed under it cannot be
            imported or is no `Operator`.
        MissingExtraError: the operator needs a package that is not installed.
    """
    if name in OPERATORS:  # without looking for packages, which takes 20 ms
        module, _, attribute = OPERATORS[name].partition(":")
        own: type[Operator] = getattr(importlib.import_module(module), attribute)
        return own
    known = operator_names()
    if name not in known:
        raise OpkitInputError(
            f"unknown operator {name!r}.{nearest(name, known)} "
            f"Known: {', '.join(sorted(known))}."
        )
    module, _, attribute = known[name].partition(":")
    imported = _import_installed(name, module)
    if attribute not in vars(imported):
        raise OpkitInputError(
            f"operator {name}: module {module} has no class {attribute!r}."
            f"{nearest(attribute, vars(imported))} Correct its entry point"
        )
    value = vars(imported)[attribute]
    if not (isinstance(value, type) and issubclass(value, Operator)):
        raise OpkitInputError(
            f"operator {name}: {known[name]} is no class derived from "
            "opkit.operators.interface.Operator"
        )
    members = {member for cls in value.__mro__[:-1] for member in _own(cls)}
    lacking = [m for m in ("accepts", "Options", "forward") if m not in members]
    if lacking:
        raise OpkitInputError(
            f"operator {name}: {attribute} lacks {', '.join(lacking)}: see "
            "opkit.operators.interface.Operator"
        )
    return value


def _own(cls: type) -> set[str]:
    """Members of a class that count as an operator's: torch's own do not."""
    return set() if cls.__module__.startswith("torch.") else set(vars(cls))


def _import_installed(name: str, module: str) -> ModuleType:
    """Import another package's module; whatever stops it becomes one line."""
    try:
        return importlib.import_module(module)
    except OpkitError:
        raise
    except ModuleNotFoundError as error:
        raise OpkitInputError(
            f"operator {name}: no module named {error.name!r}: install it, or correct "
            "the entry point"
        ) from error
    except Exception as error:
        raise OpkitInputError(
            f"operator {name}: importing {module} raised {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error


def build_operator(
    name: str, data: DataShape | MeshShape, options: Mapping[str, Any]
) -> Operator:
    """Construct an operator by name from plain options.

    Raises:
        OpkitInputError: unknown name or option, or data it does not accept.
    """
    cls = operator_class(name)
    if len(data.shape) not in cls.accepts.dimensions:
        raise OpkitInputError(
            f"operator {name} takes {_listed(cls.accepts.dimensions)} space axes, "
            f"the data have {len(data.shape)}: choose another operator or mode"
        )
    if any(data.periodic) and not cls.accepts.periodic:
        raise OpkitInputError(
            f"operator {name} does not take periodic axes: choose another operator"
        )
    if data.parameters and not cls.accepts.parameters:
        raise OpkitInputError(
            f"operator {name} takes no numbers per sample: use {_with_parameters()}"
        )
    for role, asked, what in (
        ("series", data.series, "takes no series (functions of time) as input"),
        ("readouts", data.readouts, "gives fields alone, no numbers or series"),
    ):
        if asked and not vars(cls.accepts)[role]:
            raise OpkitInputError(f"operator {name} {what}: use {_with(role)}")
    if not data.in_channels and cls.accepts.needs_fields:
        raise OpkitInputError(
            f"operator {name} needs input fields, the data have numbers per sample "
            f"alone: use {_with_parameters(False)}"
        )
    build: Callable[..., Operator] = cls
    return build(data, parse_options(name, options))


def parse_options(name: str, options: Mapping[str, Any]) -> BaseModel:
    """Return plain options as the operator's own record.

    Raises:
        OpkitInputError: unknown name or option, or a value that it does not take.
    """
    cls = operator_class(name)
    try:
        return cls.Options.model_validate(dict(options))
    except ValidationError as error:
        raise OpkitInputError(
            f"operator {name}: {explain(error, cls.Options)}"
        ) from None


def _with_parameters(needs_fields: bool = True) -> str:
    """Name the operators that take numbers per sample, alone if asked."""
    return (
        " or ".join(
            name
            for name, accepts in acceptance().items()
            if accepts.parameters and (needs_fields or not accepts.needs_fields)
        )
        or "none yet"
    )


def _with(role: str) -> str:
    """Name the operators whose `Accepts` says True of a role."""
    return " or ".join(name for name, a in acceptance().items() if vars(a)[role])


def _listed(numbers: tuple[int, ...]) -> str:
    return " or ".join(str(number) for number in numbers)


def acceptance() -> dict[str, Accepts]:
    """Return what every operator accepts, by name.

    Those of installed packages that cannot be used are left out.
    """
    offers = {}
    for name in operator_names():
        try:
            offers[name] = operator_class(name).accepts
        except OpkitInputError:
            if name in OPERATORS:
                raise
    return offers


def acceptance_table() -> str:
    """Return a Markdown table of operators, geometries and numbers of space axes."""
    rows = [
        "| operator | geometry | space axes | numbers per sample "
        "| series as input | numbers and series as output |",
        "|---|---|---|---|---|---|",
    ]
    for name, accepts in acceptance().items():
        axes = ", ".join(map(str, accepts.dimensions))
        geometries = ", ".join(accepts.geometries)
        series, readouts = (
            "yes" if offered else "no" for offered in (accepts.series, accepts.readouts)
        )
        rows.append(
            f"| {name} | {geometries} | {axes} | {accepts.numbers} | {series} "
            f"| {readouts} |"
        )
    return "\n".join(rows)


def check_acceptance(name: str, geometry: GeometryKind, axes: int) -> None:
    """Refuse data that an operator cannot take.

    Args:
        name: of the operator.
        geometry: kind of the case's geometry.
        axes: number of space axes of the fields, with time in space-time mode.

    Raises:
        OpkitInputError: one line that names the operators which could.
    """
    accepts = operator_class(name).accepts
    if geometry in accepts.geometries and axes in accepts.dimensions:
        return
    others = [
        other
        for other, offer in acceptance().items()
        if geometry in offer.geometries and axes in offer.dimensions
    ]
    remedy = f"use {' or '.join(others)}" if others else "none does yet"
    raise OpkitInputError(
        f"operator {name} takes {' or '.join(accepts.geometries)} with "
        f"{' or '.join(map(str, accepts.dimensions))} space axes, not {geometry} with "
        f"{axes}: {remedy}"
    )
