"""Errors per region of input space: quartiles of simple features of the inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.metrics.functional import energy_spectrum
from opkit.operators.inputs import Inputs
from opkit.report.content import Row, Section, Table, number
from opkit.report.pictures import chart
from opkit.report.subject import Subject

BINS = 4
MOST_NUMBERS = 12
"""Numbers per sample that have a table of their own."""


def section(subject: Subject) -> Section:
    """Bin the test samples by each feature, with the training samples beside."""
    train = subject.training_inputs()
    grid = subject.mesh is None
    here = _features(subject.batch, train, subject, grid)
    there = _features(train, train, subject, grid)
    tables = []
    ranks = {}
    for name, values in here.items():
        ranks[name] = rank_correlation(values, subject.errors)
        tables.append(_table(name, values, there[name], subject.errors, ranks[name]))
    title = "Errors per region of input space"
    if len(subject.errors) < BINS:
        few = f"Too few {subject.split} samples ({len(subject.errors)}) for quartiles."
        return Section("regions", title, (few,))
    strongest = max(ranks, key=lambda name: abs(ranks[name]))
    x = here[strongest].tolist()
    picture = chart(
        {"samples": (x, subject.errors.tolist())},
        (strongest, "relative L2 error"),
        f"error of each {subject.split} sample against its {strongest}; rank "
        f"correlation {ranks[strongest]:.2f}",
        f"Each dot is one {subject.split} sample.",
        log="xy",
        points=True,
    )
    text = (
        f"Each table cuts the {len(subject.errors)} {subject.split} samples into "
        "quartiles of one feature of their inputs. The training share says how many "
        "of the training inputs lie in the same interval: where it is far below a "
        "quarter, the surrogate has seen little.",
    )
    return Section(
        "regions", title, text, tables=tuple(tables), rows=(Row("", (picture,)),)
    )


def _features(
    inputs: Inputs, train: Inputs, subject: Subject, grid: bool
) -> dict[str, Array]:
    """Describe inputs by features of their fields and by their numbers."""
    described: dict[str, Array] = {}
    if subject.ragged:
        described |= _shapes(inputs)
    elif inputs.fields.shape[1]:
        described |= features(inputs.fields, train.fields, spectral=grid)
    if inputs.series is not None and train.series is not None:
        described |= {
            f"{name} of series": values
            for name, values in features(inputs.series, train.series).items()
        }
    if inputs.parameters is not None:
        names = [
            v.name if v.channels == 1 else f"{v.name}[{k}]"
            for v in subject.config.parameters
            for k in range(v.channels)
        ]
        columns = inputs.parameters.double().unbind(1)
        pairs = list(zip(names, columns, strict=True))[:MOST_NUMBERS]
        described |= {name: column.numpy() for name, column in pairs}
    return described


def _shapes(inputs: Inputs) -> dict[str, Array]:
    """Describe samples that have a mesh each by its size and that of their fields."""
    parts = inputs.apart()
    weights = [part.need("weights").double() for part in parts]
    described = {"nodes": np.array([float(w.numel()) for w in weights])}
    size = np.array([float(w.sum()) for w in weights])
    if np.ptp(size) > 1e-6 * size.max():  # of clouds 1, of meshes area or volume
        described["area or volume"] = size
    if inputs.fields.shape[1]:
        square = [
            float((p.fields.double().square().mean(1) * w).sum() / w.sum())
            for p, w in zip(parts, weights, strict=True)
        ]
        described["mean square of the inputs"] = np.array(square)
    return described


def features(
    inputs: Tensor, train: Tensor, spectral: bool = True
) -> Mapping[str, Array]:
    """Describe inputs (sample, channel, *space) by one number each.

    * contrast: max / min, the largest over channels, where all training inputs are
      positive;
    * energy: <x²> over its mean in training, the mean over channels;
    * distance from the training mean: root mean square over points and channels of
      (x - m) / s with the mean m of every point and the spread s of every channel;
    * mean wavenumber: Σ k E(k) / Σ E(k) of the spectrum, the mean over channels, if
      ``spectral``: on grids.
    """
    x, t = inputs.double(), train.double()
    axes = tuple(range(2, x.ndim))
    numbers: dict[str, Tensor] = {}
    if bool((t > 0).all()):
        numbers["contrast"] = (x.amax(axes) / x.amin(axes).clamp_min(1e-300)).amax(1)
    scale = t.square().mean((0, *axes)).clamp_min(1e-300)
    numbers["energy"] = (x.square().mean(axes) / scale).mean(1)
    mean = t.mean(0)
    spread = (t - mean).square().mean((0, *axes), keepdim=True).clamp_min(1e-300)
    away = (x - mean).square() / spread
    numbers["distance from the training mean"] = away.flatten(1).mean(1).sqrt()
    if spectral and (x.ndim > 3 or (x.ndim == 3 and x.shape[2] > 1)):
        energy = energy_spectrum(x)
        k = torch.arange(1, energy.shape[2] + 1, dtype=energy.dtype)
        total = energy.sum(2).clamp_min(1e-300)
        numbers["mean wavenumber"] = ((energy * k).sum(2) / total).mean(1)
    return {name: values.numpy() for name, values in numbers.items()}


def bins(values: Array, count: int = BINS) -> Array:
    """Return the edges (count + 1,) that cut values into equally many."""
    return np.quantile(values, np.linspace(0, 1, count + 1))


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's ρ, the correlation of the ranks; 0 where one is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _table(name: str, values: Array, train: Array, errors: Array, rank: float) -> Table:
    edges = bins(values)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
    rows = []
    for k in range(BINS):
        mine = errors[place == k]
        last = train <= edges[k + 1] if k == BINS - 1 else train < edges[k + 1]
        share = float(np.mean((train >= edges[k]) & last))
        rows.append(
            (
                f"{number(edges[k])} to {number(edges[k + 1])}",
                f"{100 * share:.0f} %",
                str(len(mine)),
                number(float(mine.mean()) if len(mine) else None),
                number(float(mine.max()) if len(mine) else None),
            )
        )
    # two-sided normal approximation: ρ √(n - 1) is standard normal without correlation
    notable = abs(rank) * np.sqrt(max(len(errors) - 1, 0)) > 1.96
    word = f"rank correlation with the error {rank:.2f}" + (
        "" if notable else " (none)"
    )
    return Table(
        f"By {name}: {word}",
        (name, "training share", "samples", "mean error", "worst error"),
        tuple(rows),
    )
