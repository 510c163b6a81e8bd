"""What a report is about: a surrogate, its data, and its predictions on them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.evaluate import scores
from opkit.evaluate.run import Evaluation, evaluate
from opkit.figures.plots import Triangles
from opkit.metrics import functional
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import MeshShape
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.run_directory import data_of_run
from opkit.surrogate.surrogate import Surrogate

MAX_POINTS = 2**23
"""Most points (samples times grid) whose predictions are looked at one by one."""


@dataclass(frozen=True)
class Subject:
    """A surrogate, its data file, and how it does there.

    Args:
        run: run directory or bundle, as given.
        surrogate: loaded from it.
        evaluation: errors per resolution, measured now.
        header: of the data file.
        diagnostics: the solver's numbers for every sample of the file.
        measure: what the solver's ``error`` is.
        content_hash: of the data file.
        batch: inputs of the samples, physical units; their fields are the last given
            frame in autoregressive mode.
        targets: (sample, [time,] channel, *space).
        predicted: the same, by the surrogate. Samples that have a mesh each are laid
            one after another, as `opkit.datasets.field_dataset.collate` does.
        times: of the frames in autoregressive mode; empty otherwise.
    """

    run: Path
    surrogate: Surrogate
    evaluation: Evaluation
    header: Header
    diagnostics: dict[str, NDArray[np.float64]]
    measure: str
    content_hash: str
    batch: Inputs
    targets: Tensor
    predicted: Tensor
    times: NDArray[np.float64]

    @property
    def config(self) -> Any:
        """The bundle's record."""
        return self.surrogate.config

    @property
    def split(self) -> str:
        """The split that everything is measured on."""
        return self.evaluation.rows[0].split

    @property
    def inputs(self) -> Tensor:
        """Fields of ``batch``; of trajectories the last given frame."""
        return self.batch.fields

    @property
    def ragged(self) -> bool:
        """Whether each sample has a mesh or cloud of its own."""
        return bool(self.config.shape.ragged)

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.errors)

    def one(self, index: int) -> tuple[Inputs, Tensor, Tensor]:
        """Return inputs, target and prediction of a sample, batches of one."""
        if not self.ragged:
            chosen = slice(index, index + 1)
            parts = self.targets[chosen], self.predicted[chosen]
            return self.batch.rows(chosen), *parts
        return self._apart[index]

    @cached_property
    def _apart(self) -> list[tuple[Inputs, Tensor, Tensor]]:
        inputs = self.batch.apart()
        lengths = [part.fields.shape[-1] for part in inputs]
        packing = self.config.shape.packing
        if packing is not None:
            pairs = (packing.apart(u, lengths) for u in (self.targets, self.predicted))
            return list(zip(inputs, *pairs, strict=True))
        targets = torch.split(self.targets, lengths, -1)
        predicted = torch.split(self.predicted, lengths, -1)
        return list(zip(inputs, targets, predicted, strict=True))

    @property
    def rollout(self) -> bool:
        """Whether predictions are trajectories."""
        return bool(self.surrogate.model.history)

    @cached_property
    def mesh(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Points and cells, where the surrogate lives on a mesh."""
        shape = self.surrogate.shape
        return (shape.points, shape.cells) if isinstance(shape, MeshShape) else None

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """Relative L2 error of each sample; of rollouts the mean over frames."""
        prediction, target = self.predicted, self.targets
        if self.ragged:
            parts = [
                functional.relative_l2(p, t, self.surrogate.domain_of(x))
                for x, t, p in self._apart
            ]
            return torch.cat(parts).double().numpy()
        if self.rollout:
            prediction, target = prediction.flatten(0, 1), target.flatten(0, 1)
        errors = functional.relative_l2(prediction, target, self.surrogate.domain)
        return errors.double().view(len(self.targets), -1).mean(1).numpy()

    def training_inputs(self, most: int = 1000) -> Inputs:
        """Inputs of training samples, as ``batch``, spread evenly over the split.

        Of the run's own data file where the one that is measured on has none.

        Raises:
            BundleError: that file is not known or gone.
        """
        if len(self.header.splits.get("train", ())):
            samples = self._samples("train")
        else:
            samples = self.surrogate.samples(data_of_run(self.run), "train")
        step = max(len(samples) // most, 1)
        rows = range(0, len(samples), step)
        if self.ragged:
            return Inputs.of(collate([samples[i] for i in rows]))
        items = []
        for i in rows:
            sample = samples[i]
            last = {"inputs": self._last(sample["inputs"])}
            apart = ("parameters", "series")
            items.append(last | {k: sample[k] for k in apart if k in sample})
        return Inputs.of(collate(items))

    def drawn_on(self, index: int) -> Triangles | None:
        """Return the mesh or cloud of a sample, where each has one in the plane."""
        row = int(self.header.splits[self.split][index])
        with DataFile(self.evaluation.data, trusted=True) as file:
            mesh = file.mesh(row)
        return Triangles(mesh.points, mesh.cells)

    def points(self, index: int) -> NDArray[np.float64] | None:
        """Where the nodes of a sample of ``inputs`` lie; None if all are alike."""
        return self._samples(self.split).points(index)

    def _samples(self, split: str) -> FieldDataset:
        return self.surrogate.samples(self.evaluation.data, split, trusted=True)

    def _last(self, inputs: Tensor) -> Tensor:
        return inputs[-1] if self.rollout else inputs


def read(run: Path, data: Path | None = None) -> Subject:
    """Load a surrogate, evaluate it, and predict the samples of its test split.

    Raises:
        BundleError: no bundle, or its data file is not known or gone.
        CaseError: the data are of another case.
        DataError: the data cannot be read.
    """
    loaded = surrogate.load(run)
    evaluation = evaluate(loaded, data)
    split = evaluation.rows[0].split
    samples = loaded.samples(evaluation.data, split, trusted=True)
    points = int(samples[0]["outputs"].nelement())
    count = min(len(samples), max(MAX_POINTS // points, 1))
    parts: list[tuple[Inputs, Tensor, Tensor]] = []
    history = bool(loaded.model.history)
    if loaded.config.shape.ragged:
        items = [samples[i] for i in range(count)]
        whole = collate(items)
        joined = Inputs.of(whole)
        with torch.no_grad():
            parts = [(joined, whole["outputs"], loaded.predict(joined))]
        return _joined(run, loaded, evaluation, parts, samples)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", UserWarning)
        for batch in scores.read(samples, count):
            steps = batch.outputs.shape[1] if history else 1
            predicted = loaded.predict(batch.inputs, steps)
            fields = batch.inputs.fields
            last = fields[:, -1] if history else fields
            inputs = batch.inputs._replace(fields=last)
            parts.append((inputs, batch.outputs, predicted))
    return _joined(run, loaded, evaluation, parts, samples)


def _joined(
    run: Path,
    loaded: Surrogate,
    evaluation: Evaluation,
    parts: list[tuple[Inputs, Tensor, Tensor]],
    samples: FieldDataset,
) -> Subject:
    """Return the subject, with its batches of inputs, targets and predictions."""
    with DataFile(evaluation.data, trusted=True) as file:
        header, diagnostics = file.header, file.diagnostics()
        measure, content_hash = file.measure, file.content_hash()
    one = parts[0][0] if len(parts) == 1 else Inputs.joined([p[0] for p in parts])
    return Subject(
        run=run,
        surrogate=loaded,
        evaluation=evaluation,
        header=header,
        diagnostics=diagnostics,
        measure=measure,
        content_hash=content_hash,
        batch=one,
        targets=torch.cat([targets for _, targets, _ in parts]),
        predicted=torch.cat([predictions for _, _, predictions in parts]),
        times=samples.times if loaded.model.history else np.empty(0),
    )
