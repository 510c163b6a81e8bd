"""A prediction beside its solution, above the time that each way to it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from opkit.datasets.field_dataset import collate
from opkit.datasets.header import closed
from opkit.errors import OpkitInputError
from opkit.figures import plots
from opkit.metrics import functional
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import MeshShape
from opkit.surrogate.surrogate import Surrogate

SCANNED = 50
"""Samples among which one of the median error is drawn."""


def draw(
    surrogate: Surrogate,
    data: Path,
    split: str,
    seconds: Mapping[str, float],
    title: str,
    picture: Path,
) -> Path:
    """Draw the sample of the median error, and the seconds of each way to solve it.

    Args:
        surrogate: whose first output is drawn.
        data: its data file.
        split: of the file.
        seconds: name to seconds per query.
        title: above the figure.
        picture: PNG file to write.

    Raises:
        OpkitInputError: fields that are neither on a grid nor on triangles.
        MissingExtraError: matplotlib is not installed.
    """
    config, shape = surrogate.config, surrogate.shape
    mesh = None
    if isinstance(shape, MeshShape):
        if shape.points.shape[1] == 3:
            raise OpkitInputError(
                "tetrahedra are not drawn: leave --figure away, and write predictions "
                "to .vtu"
            )
        mesh = plots.Triangles(shape.points, shape.cells)
    samples = surrogate.samples(data, split, trusted=True)
    items = samples.__getitems__(list(range(min(len(samples), SCANNED))))
    batch = collate(items)
    targets = batch["outputs"]
    steps = targets.shape[1] if config.history else 1
    predicted = surrogate.predict(Inputs.of(batch), steps)
    if config.history:
        targets, predicted = targets[:, -1], predicted[:, -1]
    errors = functional.relative_l2(predicted, targets, surrogate.domain)
    chosen = int(errors.argsort()[len(errors) // 2])
    points = plots.last_plane(samples.points(chosen))

    def shown(field: Tensor) -> np.ndarray:
        while field.ndim > 2:  # the last plane, or the last time
            field = field[-1]
        plane = field.numpy()
        moved = points is not None and mesh is None
        axes = config.axes[-plane.ndim :]
        return closed(plane, samples.header, axes) if moved else plane

    name = samples.header.outputs[0].long_name or config.outputs[0].name
    target, prediction = shown(targets[chosen, 0]), shown(predicted[chosen, 0])
    row = plots.prediction_row({}, target, prediction, name, points)
    extent = None
    if len(config.axes) == 2 and points is None:
        y, x = config.shape.extent
        extent = (0.0, x, 0.0, y)
    return plots.row_and_times(picture, row, seconds, title, extent, mesh)
