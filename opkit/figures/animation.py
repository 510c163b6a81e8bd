"""A rollout as a moving picture: solver, surrogate, and their difference."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.children import require_aside
from opkit.base.files import make_folder, write_bytes
from opkit.errors import BundleError, OpkitInputError
from opkit.figures import plots
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import MeshShape
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.run_directory import RunDirectory, data_of_run

FRAMES = 100
"""Most frames of a picture; of longer rollouts as many, evenly chosen."""


def draw(run: Path, data: Path | None = None, sample: int = 0, rate: int = 8) -> Path:
    """Draw the rollout of one test sample into ``figures/rollout.gif`` of a run.

    The surrogate is given the first frames and predicts all others.

    Args:
        run: run directory of an autoregressive surrogate on a grid.
        data: its data file; the one it was trained on where not given.
        sample: number of the sample within the test split.
        rate: frames per second.

    Returns:
        The GIF file.

    Raises:
        OpkitInputError: the surrogate does not go from one time to the next, its fields
            have three axes or lie on a mesh, or there is no such sample.
        BundleError: not a finished run, or its data are gone.
        MissingExtraError: matplotlib is not installed.
    """
    directory = RunDirectory(Path(run))
    loaded = surrogate.load(run)
    config = loaded.config
    if not config.history:
        raise OpkitInputError(
            f"{run}: its surrogate does not go from one time to the next: --animate is "
            "for recipes with mode autoregressive"
        )
    if isinstance(loaded.shape, MeshShape) or len(config.axes) > 2:
        raise OpkitInputError(
            f"{run}: only fields on grids with one or two axes are animated: `opkit "
            "predict` writes the others to files"
        )
    path = data if data is not None else data_of_run(directory.path)
    if not path.is_file():
        raise BundleError(f"{path}: no such file; give --data FILE")
    samples = loaded.samples(path, config.split_in(path))
    if not 0 <= sample < len(samples):
        raise OpkitInputError(
            f"sample {sample}: {path} has {len(samples)} to test with, counted from 0"
        )
    item = {role: part[None] for role, part in samples[sample].items()}
    truth = item["outputs"][0, :, 0].numpy()
    predicted = loaded.predict(Inputs.of(item), len(truth))[0, :, 0].numpy()
    frames = np.unique(np.linspace(0, len(truth) - 1, FRAMES).round().astype(int))
    target = directory.figures / "rollout.gif"
    make_folder(target.parent)
    lengths = tuple(config.shape.extent)
    times = np.asarray(samples.times)[-len(truth) :]
    name = config.outputs[0].name
    _write(target, truth[frames], predicted[frames], times[frames], lengths, name, rate)
    return target


def _write(
    target: Path,
    truth: NDArray[Any],
    predicted: NDArray[Any],
    times: NDArray[Any],
    lengths: tuple[float, ...],
    name: str,
    rate: int,
) -> None:
    """Draw frames (frame, *space) with one scale for all of them."""
    plt = plots.pyplot()
    animation = require_aside("matplotlib.animation", "plots")
    low, high = float(truth.min()), float(truth.max())
    error = np.abs(predicted - truth)
    if truth.ndim == 2:
        figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
        x = np.linspace(0, lengths[0], truth.shape[1])
        (line,) = axis.plot(x, truth[0], color=plots.GREY, label="solver")
        (other,) = axis.plot(x, predicted[0], color=plots.ACCENT, label="surrogate")
        margin = 0.1 * (high - low or 1.0)
        axis.set(ylim=(low - margin, high + margin), xlabel="x", ylabel=name)
        axis.legend(loc="upper right", fontsize=8)

        def show(frame: int) -> None:
            line.set_ydata(truth[frame])
            other.set_ydata(predicted[frame])
            figure.suptitle(f"t = {times[frame]:.4g}", fontsize=10)
    else:
        figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
        extent = (0.0, lengths[1], 0.0, lengths[0])
        panels = (
            ("solver", truth, "field", (low, high)),
            ("surrogate", predicted, "field", (low, high)),
            ("absolute error", error, "error", (0.0, float(error.max()) or 1.0)),
        )
        images = []
        for axis, (title, fields, kind, (least, most)) in zip(
            axes, panels, strict=True
        ):
            scale = {"vmin": least, "vmax": most, "cmap": plots.colours(kind)}
            panel = plots.Panel(title, fields[0], "field")
            images.append((plots.image_of(axis, panel, extent, None, scale), fields))
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
        figure.colorbar(images[0][0], ax=list(axes[:2]), shrink=0.85)
        figure.colorbar(images[2][0], ax=axes[2], shrink=0.85)

        def show(frame: int) -> None:
            for image, fields in images:
                image.set_data(fields[frame])
            figure.suptitle(f"{name}, t = {times[frame]:.4g}", fontsize=10)

    film = animation.FuncAnimation(figure, show, frames=len(truth))
    with TemporaryDirectory() as folder:
        whole = Path(folder, target.name)
        film.save(whole, writer=animation.PillowWriter(fps=rate), dpi=90)
        write_bytes(target, whole.read_bytes())
    plt.close(figure)
