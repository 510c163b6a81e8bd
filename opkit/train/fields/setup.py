"""From a data file and a recipe to what the loop needs: shape, samples, record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opkit.base.seeds import apart
from opkit.case.recipe import Recipe, Training
from opkit.case.record import parse_stored
from opkit.datasets.agreement import Stated
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.errors import DataError, OpkitInputError
from opkit.metrics.domains import Domain, Elements, Grid
from opkit.operators.interface import operator_class
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.interface import KeepsMeans, KeepsSquares
from opkit.surrogate.bundle.record import Channels, Shape
from opkit.surrogate.held_out import APART
from opkit.train.fields.shape import data_shape
from opkit.train.fields.symmetries import Augmentation, augmentation
from opkit.train.loop.batches import (
    Memory,
    Part,
    Sample,
    Samples,
    in_memory,
)


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that is decided before the first step.

    Args:
        recipe: resolved, with overrides.
        shape: what the operator is built for.
        axes: names of the space axes (time first in space-time mode).
        inputs: input variables, in channel order.
        outputs: output variables, in channel order.
        boundary: input variables on a boundary curve, in channel order.
        static: fields that stay as they are along a rollout, in channel order.
        parameters: numbers and short vectors per sample, in order of the file.
        series: functions of time per sample, in order of the file.
        times: of the series that are given or asked for; empty where steps are made.
        train: training samples.
        validation: validation samples.
        selection: those of them that choose the best epoch.
        calibration: those that error bounds are made of: the others where there are at
            least `APART`, else all.
        validation_source: the split that the validation samples come from.
        case: resolved case of the data file; empty for imported data without one.
        data: path of the data file.
        data_hash: its content hash.
        stated: variables, units, extents and steps of the training samples.
        more: names and content hashes of files with further training samples.
        augmentation: acts on training batches; None where there are no symmetries.
    """

    recipe: Recipe
    shape: DataShape | MeshShape
    axes: tuple[str, ...]
    inputs: tuple[Channels, ...]
    outputs: tuple[Channels, ...]
    boundary: tuple[Channels, ...]
    static: tuple[Channels, ...]
    parameters: tuple[Channels, ...]
    series: tuple[Channels, ...]
    times: tuple[float, ...]
    train: Samples
    validation: Samples
    selection: Samples
    calibration: Samples
    validation_source: Literal["validation", "train"]
    case: dict[str, Any]
    data: Path
    data_hash: str
    stated: Stated
    more: tuple[str, ...] = ()
    augmentation: Augmentation | None = None

    @property
    def grid(self) -> Domain:
        """What errors are measured with: extent and periodicity, or a mesh."""
        if isinstance(self.shape, MeshShape):
            return Elements(self.shape.points, self.shape.cells)
        return Grid(self.shape.extent, self.shape.periodic)

    @property
    def ragged(self) -> bool:
        """Whether each sample has a mesh or cloud of its own."""
        return isinstance(self.shape, DataShape) and self.shape.ragged

    @property
    def physical(self) -> bool:
        """Whether the operator takes and gives physical units."""
        return operator_class(self.recipe.operator).physical

    def unscaled(self, role: str) -> bool:
        """Whether samples of a role pass their normaliser as they are.

        Fields of operators that take physical units do; numbers and functions of time
        of a sample have no scale in common with anything, and never do.
        """
        return self.physical and role not in ("parameters", "series")

    @property
    def history(self) -> int:
        """Frames the operator sees; 0 where it is not autoregressive."""
        return self.recipe.arrangement.history

    def shape_record(self) -> Shape:
        """Return the data shape as it is stored in a bundle."""
        return Shape.of(self.shape)


def prepare(data: Path, recipe: Recipe, seed: int) -> TrainingSetup:
    """Open the data, hold out validation samples, and describe the training.

    Raises:
        DataError: a file or split that cannot be used.
        OpkitInputError: a recipe that does not fit the data.
    """
    train_set = _open(data, "train", recipe)
    header = train_set.header
    shape, axes = data_shape(train_set, recipe)
    stated = train_set.stated(axes)
    augment: Augmentation | None = None
    plain = isinstance(shape, DataShape) and "points" not in train_set[0]
    if isinstance(shape, DataShape) and plain and not shape.boundary_channels:
        steps = recipe.arrangement.history and len(train_set.times) > 1
        augment = augmentation(
            recipe,
            header.case,
            shape.shape,
            shape.periodic,
            shape.extent,
            float(np.diff(train_set.times)[0]) if steps else None,
        )
    elif recipe.training.symmetries:
        raise OpkitInputError("training.symmetries are for even grids: leave them out")
    training = recipe.training
    by_solver = bool(training.physics) or training.loss == "direction"
    if train_set.readouts and (training.symmetries or by_solver):
        raise OpkitInputError(
            "training.symmetries, training.physics and loss direction are for outputs "
            f"that are all fields, {train_set.readouts[0]} is none: leave them out"
        )
    if train_set.readouts and (training.points or training.quadrature):
        raise OpkitInputError(
            "training.points and training.quadrature are for outputs that are all "
            f"fields, {train_set.readouts[0]} is none: leave them out"
        )
    if recipe.keep_means or recipe.keep_energy:
        _check_kept(recipe, header, shape)
    _check_points(recipe.training, shape)
    gib = recipe.training.memory
    train = in_memory(train_set, gib)
    source: Literal["validation", "train"] = "validation"
    if "validation" in header.splits:
        validation = in_memory(_open(data, "validation", recipe, trusted=True), gib)
    else:
        train, validation = hold_out(train, recipe.training.holdout, seed)
        source = "train"
    selection, calibration = halves(validation, seed)
    return TrainingSetup(
        recipe=recipe,
        shape=shape,
        axes=axes,
        inputs=_channels(header, train_set.input_channels),
        outputs=_channels(header, train_set.output_channels, train_set.readouts),
        boundary=_channels(header, train_set.boundary_channels),
        static=_channels(header, train_set.static_channels),
        parameters=_channels(header, train_set.parameter_channels),
        series=_channels(header, train_set.series_channels),
        times=train_set.series_times,
        train=train,
        validation=validation,
        selection=selection,
        calibration=calibration,
        validation_source=source,
        case=dict(header.case),
        data=data,
        data_hash=train_set.file.content_hash(),
        stated=stated,
        augmentation=augment,
    )


def halves(validation: Samples, seed: int) -> tuple[Samples, Samples]:
    """Return the validation samples that choose the epoch, and those for bounds.

    All of them for both where there are fewer than `APART`.
    """
    if len(validation) < APART:
        return validation, validation
    return hold_out(validation, 0.5, seed)


def _check_kept(recipe: Recipe, header: Header, shape: DataShape | MeshShape) -> None:
    """Refuse to keep means or squares that the equation does not keep.

    Raises:
        OpkitInputError: the mode makes no steps, the grid is not even, or the case's
            solver does not say that it keeps them of all outputs.
    """
    setting = "keep_means" if recipe.keep_means else "keep_energy"
    if not recipe.arrangement.history or not isinstance(shape, DataShape):
        raise OpkitInputError(
            f"{setting} is about steps in time on a grid: train with mode "
            "autoregressive, or leave it out"
        )
    if not header.case:
        raise OpkitInputError(
            f"{setting}: data without a case do not say what is kept: leave it out"
        )
    solver = parse_stored(header.case, "data file").build_solver()
    means = solver.kept_means() if isinstance(solver, KeepsMeans) else ()
    squares = solver.kept_squares() if isinstance(solver, KeepsSquares) else ()
    for name, word, asked, kept in (
        ("keep_means", "mean", recipe.keep_means, means),
        ("keep_energy", "mean square", recipe.keep_energy, squares),
    ):
        changing = [v.name for v in header.outputs if v.name not in kept]
        if asked and (changing or not all(shape.periodic)):
            raise OpkitInputError(
                f"{name}: case {header.case.get('name')} does not keep the {word} of "
                f"{', '.join(changing) or 'fields on a grid with ends'}: leave it out"
            )


def _check_points(training: Training, shape: DataShape | MeshShape) -> None:
    """Refuse training on some of the points where that cannot be.

    Raises:
        OpkitInputError: names the setting.
    """
    slopes = "relative_h1" in (training.loss, training.metric)
    if slopes and isinstance(shape, DataShape) and shape.ragged:
        raise OpkitInputError(
            "relative_h1 needs one grid or mesh for all samples: use loss and metric "
            "relative_l2"
        )
    if not shape.point_axes and (training.points or training.quadrature):
        name = "points" if training.points else "quadrature"
        raise OpkitInputError(
            f"training.{name} is for operators that are given nodes which lie "
            "elsewhere for each sample: leave it out"
        )
    if training.quadrature and slopes:
        raise OpkitInputError(
            "training.quadrature is for errors without slopes: use loss and metric "
            "relative_l2"
        )
    if training.points is None:
        return
    if isinstance(shape, MeshShape) and shape.on_cells:
        raise OpkitInputError(
            "training.points is for inputs on nodes, these are on cells: leave it out"
        )
    if training.physics or training.loss in ("relative_h1", "direction"):
        raise OpkitInputError(
            "training.points leaves no neighbours for slopes and residuals: use loss "
            "relative_l2 and physics 0, or leave it out"
        )


def test_samples(setup: TrainingSetup) -> Iterator[Sample]:
    """Yield the samples of the file's test split, if it has one."""
    with DataFile(setup.data, trusted=True) as file:
        if "test" not in file.header.splits:
            return
    held = _open(setup.data, "test", setup.recipe, trusted=True)
    yield from (held[index] for index in range(len(held)))


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
    training, validation = apart(len(samples), part, seed)
    return chosen(samples, training), chosen(samples, validation)


def chosen(samples: Samples, indices: list[int]) -> Samples:
    """Return some of the samples, in memory where all of them are."""
    if isinstance(samples, Memory):
        return Memory({k: t[indices] for k, t in samples.fields.items()})
    return Part(samples, indices)


def _open(
    data: Path, split: str, recipe: Recipe, trusted: bool = False
) -> FieldDataset:
    return recipe.samples(data, split, trusted=trusted)


def _channels(
    header: Header, names: Sequence[str], readouts: Sequence[str] = ()
) -> tuple[Channels, ...]:
    """Group channel names such as ``q[0]``, ``q[1]`` by variable.

    Args:
        header: of the file.
        names: of the channels.
        readouts: names of the outputs among them that are no fields.
    """
    counts: dict[str, int] = {}
    for name in names:
        variable = name.partition("[")[0]
        counts[variable] = counts.get(variable, 0) + 1
    variables = {name: header.variable(name) for name in counts}
    return tuple(
        Channels(
            name=name,
            units=v.units,
            channels=counts[name],
            scale=v.scale,
            kind="field"
            if name not in readouts
            else "series"
            if v.is_series
            else "numbers",
        )
        for name, v in variables.items()
    )
