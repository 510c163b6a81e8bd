"""From a data file and a recipe to what the loop needs: model, samples, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from opkit import losses
from opkit.bundle import Channels, Shape
from opkit.case import parse_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import Header
from opkit.errors import DataError, OpkitInputError
from opkit.normalise import Moments, Normaliser, PhysicalModel
from opkit.operators.acceptance import check_acceptance
from opkit.operators.interface import DataShape, build_operator, operator_class
from opkit.operators.mesh_shape import MeshShape
from opkit.recipe import Recipe
from opkit.registry import apply_override
from opkit.train import guards, symmetries
from opkit.train.batches import Memory, Part, Samples, generator, in_memory
from opkit.train.mesh import mesh_shape
from opkit.validation import explain

APART = 40
"""Validation samples from which on a half is kept for error bounds alone: 20 samples
make bounds of 95 % coverage."""


@dataclass(frozen=True)
class Problem:
    """Everything that is decided before the first step.

    Args:
        recipe: resolved, with overrides.
        shape: what the operator is built for.
        axes: names of the space axes (time first in space-time mode).
        inputs: input variables, in channel order.
        outputs: output variables, in channel order.
        boundary: input variables on a boundary curve, in channel order.
        static: channels of fields that do not change in time, autoregressive mode.
        train: training samples.
        validation: validation samples.
        selection: those of them that choose the best epoch.
        calibration: those that error bounds are made of: the others where there are at
            least `APART`, else all.
        validation_source: the split that the validation samples come from.
        case: resolved case of the data file; empty for imported data without one.
        data: path of the data file.
        data_hash: its content hash.
        more: names and content hashes of files with further training samples.
    """

    recipe: Recipe
    shape: DataShape | MeshShape
    axes: tuple[str, ...]
    inputs: tuple[Channels, ...]
    outputs: tuple[Channels, ...]
    boundary: tuple[Channels, ...]
    static: int
    train: Samples
    validation: Samples
    selection: Samples
    calibration: Samples
    validation_source: Literal["validation", "train"]
    case: dict[str, Any]
    data: Path
    data_hash: str
    more: tuple[str, ...] = ()

    @property
    def grid(self) -> losses.Domain:
        """What errors are measured with: extent and periodicity, or a mesh."""
        if isinstance(self.shape, MeshShape):
            return losses.Elements(self.shape.points, self.shape.cells)
        return losses.Grid(self.shape.extent, self.shape.periodic)

    @property
    def physical(self) -> bool:
        """Whether the operator takes and gives physical units."""
        return bool(getattr(operator_class(self.recipe.operator), "physical", False))

    @property
    def history(self) -> int:
        """Frames the operator sees; 0 where it is not autoregressive."""
        return self.recipe.history if self.recipe.mode == "autoregressive" else 0

    def shape_record(self) -> Shape:
        """Return the data shape as it is stored in a bundle."""
        shape = self.shape
        if isinstance(shape, DataShape):
            return Shape(**shape.__dict__)
        return Shape(
            in_channels=shape.in_channels,
            out_channels=shape.out_channels,
            shape=shape.shape,
            periodic=shape.periodic,
            extent=shape.extent,
            inputs_on=shape.inputs_on,
        )


def resolve_recipe(
    case: dict[str, Any], operator: str, overrides: Sequence[str]
) -> Recipe:
    """Return the case's recipe of that name, or a default one, with overrides.

    Raises:
        OpkitInputError: a key, value, or operator that does not exist, or that does
            not train on fields.
    """
    recipe = merge_recipe(case, operator, overrides)
    operator_class(recipe.operator)
    if recipe.stream:
        raise OpkitInputError(
            f"recipe {operator}: stream is for hypernetworks, leave it out"
        )
    return recipe


def merge_recipe(
    case: dict[str, Any], operator: str, overrides: Sequence[str]
) -> Recipe:
    """Return the case's recipe of that name, or a default one, with overrides.

    Raises:
        OpkitInputError: a key or value that does not exist.
    """
    recipes = case.get("recipes", {})
    plain = dict(recipes.get(operator) or {"operator": operator})
    plain["model"] = dict(plain.get("model", {}))
    plain["training"] = dict(plain.get("training", {}))
    plain["stream"] = dict(plain.get("stream", {}))
    for override in overrides:
        apply_override(plain, override)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise OpkitInputError(f"recipe {operator}: {explain(error, Recipe)}") from None


def prepare(data: Path, recipe: Recipe, seed: int) -> Problem:
    """Open the data, hold out validation samples, and describe the problem.

    Raises:
        DataError: a file or split that cannot be used.
        OpkitInputError: a recipe that does not fit the data.
    """
    train_set = _open(data, "train", recipe)
    header = train_set.header
    shape, axes = data_shape(train_set, recipe)
    if isinstance(shape, DataShape) and not shape.boundary_channels:
        symmetries.check(recipe.training.symmetries, shape.shape, shape.periodic)
    elif recipe.training.symmetries:
        raise OpkitInputError("training.symmetries are for grids: leave them out")
    gib = recipe.training.memory
    train = in_memory(train_set, gib)
    source: Literal["validation", "train"] = "validation"
    if "validation" in header.splits:
        validation = in_memory(_open(data, "validation", recipe, trusted=True), gib)
    else:
        train, validation = hold_out(train, recipe.training.holdout, seed)
        source = "train"
    selection = calibration = validation
    if len(validation) >= APART:
        selection, calibration = hold_out(validation, 0.5, seed)
    return Problem(
        recipe=recipe,
        shape=shape,
        axes=axes,
        inputs=_channels(header, train_set.input_channels),
        outputs=_channels(header, train_set.output_channels),
        boundary=_channels(header, train_set.boundary_channels),
        static=len(first["static"]) if "static" in (first := train[0]) else 0,
        train=train,
        validation=validation,
        selection=selection,
        calibration=calibration,
        validation_source=source,
        case=dict(header.case),
        data=data,
        data_hash=train_set.file.content_hash(),
    )


def hold_out(samples: Samples, part: float, seed: int) -> tuple[Samples, Samples]:
    """Split off a random part of the samples, the same for the same seed.

    Raises:
        DataError: too few samples to split.
    """
    count = round(part * len(samples))
    if not 0 < count < len(samples):
        raise DataError(
            f"{len(samples)} training samples are too few to hold out {part:.0%} for "
            "validation: give the file a validation split"
        )
    order = torch.randperm(len(samples), generator=generator(seed, 0, 0))
    kept, held = order[count:].sort().values, order[:count].sort().values
    if isinstance(samples, Memory):
        return (
            Memory({k: t[kept] for k, t in samples.fields.items()}),
            Memory({k: t[held] for k, t in samples.fields.items()}),
        )
    return Part(samples, kept.tolist()), Part(samples, held.tolist())


def build_model(problem: Problem, seed: int) -> PhysicalModel:
    """Construct the model with the weights of a seed, normalisers not yet fitted."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        operator = build_operator(
            problem.recipe.operator, problem.shape, problem.recipe.model
        )
    return PhysicalModel(
        operator,
        Normaliser(sum(v.channels for v in problem.inputs)),
        Normaliser(problem.shape.out_channels),
        problem.history,
        Normaliser(problem.static) if problem.static else None,
        problem.shape.tensors() if isinstance(problem.shape, MeshShape) else None,
    )


def fit_normalisers(model: PhysicalModel, problem: Problem) -> None:
    """Fit on the training samples only, and check all samples.

    Raises:
        DataError: values that are not finite, or validation samples among the training
            samples.
    """
    roles = {"inputs": model.inputs, "outputs": model.outputs}
    if model.static is not None:
        roles["static"] = model.static
    moments = {role: Moments() for role in roles}
    keys = []
    for sample in guards.finite_samples(problem.train, "training"):
        keys.append(guards.digest(sample))
        for role, moment in moments.items():
            framed = problem.history and role != "static"
            moment.add(sample[role] if framed else sample[role][None])
    checked = guards.finite_samples(problem.validation, "validation")
    guards.no_overlap(keys, (guards.digest(sample) for sample in checked), "validation")
    for role, normaliser in roles.items():
        normaliser.fit(moments[role], problem.physical)


def prepare_operator(model: PhysicalModel, problem: Problem) -> None:
    """Show the normalised training samples to an operator that asks for them.

    Raises:
        OpkitInputError: the operator cannot be built from these samples.
    """
    hook = getattr(model.operator, "prepare", None)
    if hook is None:
        return
    fields = dict(Memory.of(problem.train).fields)
    for role in ("inputs", "outputs", "static"):
        normaliser = getattr(model, role)
        if role not in fields or normaliser is None:
            continue
        field, framed = fields[role], problem.history and role != "static"
        if framed:  # (sample, time, channel, *space)
            flat = normaliser.encode(field.flatten(0, 1))
            fields[role] = flat.view(field.shape)
        else:
            fields[role] = normaliser.encode(field)
    hook(fields)


def check_normalisers(model: PhysicalModel, problem: Problem) -> list[str]:
    """Fit normalisers again on the training samples; say which differ."""
    found = []
    for role in ("inputs", "outputs", "static"):
        stored = getattr(model, role)
        if stored is None:
            continue
        moments = Moments()
        for index in range(len(problem.train)):
            field = problem.train[index][role]
            framed = problem.history and role != "static"
            moments.add(field if framed else field[None])
        fitted = Normaliser(len(stored.mean)).fit(moments, problem.physical)
        fault = guards.normaliser_of(stored.cpu(), fitted, role)
        found += [fault] if fault else []
    return found


def data_shape(
    samples: FieldDataset, recipe: Recipe
) -> tuple[DataShape | MeshShape, tuple[str, ...]]:
    """Return what the operator is built for, and the names of the space axes.

    Periodicity comes from the case; data without one count as not periodic.

    Raises:
        DataError: variables with different space axes.
        OpkitInputError: the operator does not take the case's geometry.
    """
    header, first = samples.header, samples[0]
    if header.mesh is not None:
        check_acceptance(recipe.operator, "mesh", 1)
        return mesh_shape(header, recipe), ("node",)
    timeless = [d for d in header.outputs[0].dims if d not in ("time", "layer")]
    axes = (["time"] if recipe.mode == "space-time" else []) + timeless
    case = parse_case(header.case) if header.case else None
    if case is not None:
        check_acceptance(recipe.operator, case.geometry.kind, len(axes))
    periodic = case.periodic if case is not None else {}
    lengths = []
    for axis in axes:
        values = samples.axis(axis)
        span = float(values[-1] - values[0])
        closed = periodic.get(axis, False)
        lengths.append(span * len(values) / (len(values) - 1) if closed else span)
    history = recipe.history if recipe.mode == "autoregressive" else 0
    lead = 2 if history else 1
    inputs, outputs = first["inputs"], first["outputs"]
    if inputs.shape[lead:] != outputs.shape[lead:]:
        raise DataError(
            f"inputs have shape {tuple(inputs.shape[lead:])} and outputs "
            f"{tuple(outputs.shape[lead:])} in space: import them on one grid"
        )
    static = len(first["static"]) if "static" in first else 0
    shape = DataShape(
        in_channels=inputs.shape[lead - 1] * max(history, 1) + static,
        out_channels=outputs.shape[lead - 1],
        shape=tuple(inputs.shape[lead:]),
        periodic=tuple(periodic.get(axis, False) for axis in axes),
        extent=tuple(lengths),
        boundary_channels=samples.boundary_channels,
    )
    return shape, tuple(axes)


def _open(
    data: Path, split: str, recipe: Recipe, trusted: bool = False
) -> FieldDataset:
    return FieldDataset(
        data, split, recipe.subsample, recipe.mode, recipe.history, trusted=trusted
    )


def _channels(header: Header, names: Sequence[str]) -> tuple[Channels, ...]:
    """Group channel names such as ``q[0]``, ``q[1]`` by variable."""
    counts: dict[str, int] = {}
    for name in names:
        variable = name.partition("[")[0]
        counts[variable] = counts.get(variable, 0) + 1
    return tuple(
        Channels(name=name, units=header.variable(name).units, channels=count)
        for name, count in counts.items()
    )
