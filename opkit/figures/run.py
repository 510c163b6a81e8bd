"""The figures of a run: loss curves, errors, samples, worst samples, spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from opkit.datasets.field_dataset import FieldDataset, alone, collate
from opkit.datasets.header import closed
from opkit.errors import BundleError
from opkit.figures import kinds, plots
from opkit.metrics import functional
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import MeshShape
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.bundle.run_directory import RunDirectory, data_of_run
from opkit.surrogate.surrogate import Surrogate

SAMPLES = 3
SCANNED = 200
"""Test samples among which the worst are looked for."""


def draw(run: Path, data: Path | None = None) -> list[Path]:
    """Draw all figures of a finished run into its ``figures/``.

    Args:
        run: run directory.
        data: its data file; the one it was trained on where not given.

    Returns:
        The files written.

    Raises:
        BundleError: not a finished run, or its data are gone.
        MissingExtraError: matplotlib is not installed.
    """
    directory = RunDirectory(Path(run))
    folder = directory.figures
    loaded = surrogate.load(run)
    config = loaded.config
    training = config.recipe.training
    curves = folder / "curves.png"
    rows = directory.metrics()
    if not rows:
        raise BundleError(f"{run}: its metrics.csv lists no epoch: no curves to draw")
    figures = [plots.curves(curves, rows, training.loss, training.metric)]
    mesh = _mesh(loaded)
    ragged = config.shape.ragged
    if mesh is None and not ragged:
        figures.append(_resolutions(folder / "resolutions.png", config))
    path = data if data is not None else data_of_run(directory.path)
    if not path.is_file():
        raise BundleError(f"{path}: no such file; give --data FILE")
    split = config.split_in(path)
    samples = loaded.samples(path, split)
    count = min(len(samples), SCANNED)
    if ragged:
        return figures + _ragged(folder, loaded, samples, count, split)
    items = [samples[i] for i in range(count)]
    fields = collate(items)
    steps = fields["outputs"].shape[1] if loaded.model.history else 1
    predicted = loaded.predict(Inputs.of(fields), steps)
    if loaded.model.history:
        pairs = zip(predicted.unbind(1), fields["outputs"].unbind(1), strict=True)
        means = [float(functional.relative_l2(p, t).mean()) for p, t in pairs]
        figures.append(plots.rollout(folder / "rollout.png", means))
        fields["inputs"] = fields["inputs"][:, -1]
        fields["outputs"], predicted = fields["outputs"][:, -1], predicted[:, -1]
    errors = functional.relative_l2(predicted, fields["outputs"], loaded.domain)
    if mesh is not None and mesh[0].shape[1] == 3:
        return figures  # tetrahedra: write predictions to .vtu and cut them open
    if config.shape.packing is not None:
        numbers = numbers_of(config, fields["outputs"], predicted)
        if numbers:
            figures.append(kinds.agreement(folder / "numbers.png", numbers))
    order = errors.argsort()
    middle = order[len(order) // 2 :][:SAMPLES].tolist()
    worst = order.flip(0)[:SAMPLES].tolist()
    for name, chosen in (("samples", middle), ("worst", worst)):
        path = folder / f"{name}.png"
        labels = [f"{split} {i}: {errors[i]:.3g}" for i in chosen]
        if config.shape.packing is not None:
            whole = None if mesh is None else plots.Triangles(*mesh)
            drawn = [
                _kinds(
                    loaded,
                    fields,
                    predicted,
                    i,
                    plots.last_plane(samples.points(i)),
                    whole,
                )
                for i in chosen
            ]
            figures += _drawn_kinds(path, config, drawn, labels)
            continue
        figures.append(_rows(path, loaded, samples, fields, predicted, chosen, labels))
    if len(config.axes) > 1 and config.shape.packing is None:
        energies = {
            "data": functional.energy_spectrum(fields["outputs"]),
            "surrogate": functional.energy_spectrum(predicted),
        }
        flat = {k: e.mean((0, 1)).numpy() for k, e in energies.items()}
        figures.append(plots.spectra(folder / "spectra.png", flat))
    return figures


def _ragged(
    folder: Path, loaded: Surrogate, samples: FieldDataset, count: int, split: str
) -> list[Path]:
    """Draw samples that have a mesh or cloud each; none of those in space."""
    shapes = samples.header.shapes
    if shapes is None or shapes.dimension != 2:
        return []  # write predictions to .vtu and cut them open
    config, packing = loaded.config, loaded.config.shape.packing
    errors, true, brief, predicted = [], [], [], []
    for index in range(count):
        batch = alone(samples[index])
        outputs = loaded.predict(Inputs.of(batch))
        norm = loaded.domain_of(Inputs.of(batch))
        errors.append(float(functional.relative_l2(outputs, batch["outputs"], norm)))
        if packing is not None:
            true.append(packing.shorten(batch["outputs"]))
            brief.append(packing.shorten(outputs))
            predicted.append(outputs)
    order = np.argsort(errors)
    choices = {
        "samples": order[len(order) // 2 :][:SAMPLES],
        "worst": order[::-1][:SAMPLES],
    }
    names = [v.name for v in config.inputs for _ in range(v.channels)]
    figures = []
    numbers = numbers_of(config, torch.cat(true), torch.cat(brief)) if true else {}
    if numbers:
        figures.append(kinds.agreement(folder / "numbers.png", numbers))
    for name, chosen in choices.items():
        rows = []
        labels = [f"{split} {i}: {errors[i]:.3g}" for i in chosen]
        path = folder / f"{name}.png"
        if packing is not None:
            drawn = []
            for index in map(int, chosen):
                mesh = samples.file.mesh(int(samples.rows[index]))
                whole = plots.Triangles(mesh.points, mesh.cells)
                batch = alone(samples[index])
                drawn.append(_kinds(loaded, batch, predicted[index], 0, None, whole))
            figures += _drawn_kinds(path, config, drawn, labels)
            continue
        for index in map(int, chosen):
            batch = alone(samples[index])
            mesh = samples.file.mesh(int(samples.rows[index]))
            fields = zip(names, batch["inputs"][0].numpy(), strict=True)
            rows.append(
                plots.prediction_row(
                    dict(fields),
                    batch["outputs"][0, 0].numpy(),
                    loaded.predict(Inputs.of(batch))[0, 0].numpy(),
                    config.outputs[0].name,
                    mesh=plots.Triangles(mesh.points, mesh.cells),
                )
            )
        title = f"{config.operator}: relative L2 error of each sample at the left"
        figures.append(plots.rows_of_fields(path, rows, None, title, labels))
    return figures


def _resolutions(path: Path, config: BundleConfig) -> Path:
    errors: dict[str, dict[int, float]] = {}
    for row in config.scores:
        errors.setdefault(row.predictor, {})[row.resolution[-1]] = row.relative_l2
    return plots.errors_by_resolution(path, errors, config.shape.shape[-1])


def _rows(
    path: Path,
    loaded: Surrogate,
    samples: FieldDataset,
    fields: dict[str, Tensor],
    predicted: Tensor,
    chosen: list[int],
    labels: list[str],
) -> Path:
    config = loaded.config
    names = [v.name for v in config.inputs for _ in range(v.channels)]
    rows = []
    for i in chosen:
        points = plots.last_plane(samples.points(i))

        def shown(field: Tensor, moved: bool = points is not None) -> np.ndarray:
            plane = _plane(field)
            axes = config.axes[-plane.ndim :]
            return closed(plane, samples.header, axes) if moved else plane

        inputs = {
            name: shown(fields["inputs"][i, channel])
            for channel, name in enumerate(names)
        }
        target, prediction = shown(fields["outputs"][i, 0]), shown(predicted[i, 0])
        rows.append(
            plots.prediction_row(
                inputs, target, prediction, config.outputs[0].name, points
            )
        )
    extent = _box(config)
    title = f"{config.operator}: relative L2 error of each sample at the left"
    mesh = _mesh(loaded)
    triangles = plots.Triangles(*mesh) if mesh is not None else None
    return plots.rows_of_fields(path, rows, extent, title, labels, triangles)


def _box(config: BundleConfig) -> tuple[float, float, float, float] | None:
    """Left, right, bottom and top of a plane; None of other domains."""
    if len(config.axes) != 2:
        return None
    y, x = config.shape.extent
    return 0.0, x, 0.0, y


def numbers_of(
    config: BundleConfig, true: Tensor, predicted: Tensor
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return data and prediction (sample,) of each number, by name."""
    pairs = {}
    both = by_name(true, config), by_name(predicted, config)
    for v in config.outputs:
        if v.kind != "numbers":
            continue
        data, own = (each[v.name].reshape(len(true), -1).numpy() for each in both)
        for k in range(v.channels):
            name = v.name if v.channels == 1 else f"{v.name}[{k}]"
            pairs[name] = (data[:, k], own[:, k])
    return pairs


def _drawn_kinds(
    path: Path,
    config: BundleConfig,
    rows: list[list[plots.Panel | kinds.Curves]],
    labels: list[str],
) -> list[Path]:
    """Draw one row a sample; nothing where all that there is are numbers."""
    if not any(rows):
        return []
    title = f"{config.operator}: relative error of each sample at the left"
    box = _box(config) or (0.0, config.shape.extent[-1], 0.0, 1.0)
    return [kinds.rows_of_kinds(path, rows, labels, box, title)]


def _kinds(
    loaded: Surrogate,
    fields: dict[str, Tensor],
    predicted: Tensor,
    index: int,
    points: np.ndarray | None,
    mesh: plots.Triangles | None,
) -> list[plots.Panel | kinds.Curves]:
    """Panels of one sample: inputs, and outputs but for numbers.

    Args:
        loaded: the surrogate.
        fields: a batch by role.
        predicted: outputs for it.
        index: of the sample in the batch.
        points: where its nodes lie, if elsewhere than those of all.
        mesh: that it lies on, None on a grid.
    """
    config, one = loaded.config, slice(index, index + 1)
    row: list[plots.Panel | kinds.Curves] = []
    names = [v.name for v in config.inputs for _ in range(v.channels)]
    for channel, name in enumerate(names):
        values = fields["inputs"][index, channel]
        row.append(_panel(loaded, name, values, points, mesh, "input"))
    if loaded.config.shape.ragged and not names:  # the shape itself
        weights = fields["weights"][index]
        row.append(_panel(loaded, "weights", weights, points, mesh, "input"))
    times = np.array(config.times)
    for k, v in enumerate(config.series):
        function = fields["series"][index, k].numpy()
        at = np.array(config.times_of(len(function)))
        row.append(kinds.Curves(v.name, at, {v.name: function}))
    both = by_name(fields["outputs"][one], config), by_name(predicted[one], config)
    for v in config.outputs:
        data, own = (each[v.name][0] for each in both)
        if v.kind == "series":
            lines = {"data": data.numpy(), "surrogate": own.numpy()}
            row.append(kinds.Curves(v.name, times, lines))
        elif v.kind == "field":
            first = (data, own) if v.channels == 1 else (data[0], own[0])
            if first[0].ndim == 1 and mesh is None:
                x = np.linspace(0.0, config.shape.extent[0], len(first[0]))
                lines = {"data": first[0].numpy(), "surrogate": first[1].numpy()}
                row.append(kinds.Curves(v.name, x, lines))
                continue
            for who, values in zip(("data", "surrogate"), first, strict=True):
                title = f"{v.name}: {who}"
                row.append(_panel(loaded, title, values, points, mesh))
    return row


def _panel(
    loaded: Surrogate,
    name: str,
    field: Tensor,
    points: np.ndarray | None,
    mesh: plots.Triangles | None,
    kind: Literal["input", "field"] = "field",
) -> plots.Panel | kinds.Curves:
    plane = _plane(field)
    if mesh is not None:
        return plots.Panel(name, plane, kind, points, mesh)
    if plane.ndim == 1:
        x = np.linspace(0.0, loaded.config.shape.extent[-1], len(plane))
        return kinds.Curves(name, x, {name: plane})
    return plots.Panel(name, plane, kind)


def _mesh(loaded: Surrogate) -> tuple[np.ndarray, np.ndarray] | None:
    """Return points and cells of a surrogate's mesh, None on a grid."""
    shape = loaded.shape
    return (shape.points, shape.cells) if isinstance(shape, MeshShape) else None


def _plane(field: Tensor) -> np.ndarray:
    """Return the last plane of a field of three axes, others as they are."""
    while field.ndim > 2:
        field = field[-1]
    return field.numpy()
