"""A surrogate and the samples on which it is held against the solver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from opkit.case.record import Case, parse_stored
from opkit.datasets.field_dataset import FieldDataset, alone
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.evaluate import scores, stored
from opkit.evaluate import solver as solver_scores
from opkit.metrics.domains import Domain
from opkit.operators.inputs import Inputs
from opkit.solvers.interface import Fields
from opkit.surrogate.surrogate import Surrogate

POINTS = 2**24
"""Most numbers of outputs in a batch, and most that are kept of the truth."""


@dataclass(frozen=True)
class Subject:
    """A surrogate and samples, as it takes them and as they are stored.

    Args:
        loaded: the surrogate.
        header: of the data file.
        inputs: of each sample, for the surrogate, a batch of one.
        targets: their outputs as the surrogate gives them, batches of one.
        fields: inputs of each as stored, float64, with its mesh where it has its own.
        truth: outputs of each as stored, float64.
        error_of_split: of the surrogate on the whole split.
        errors: of the surrogate on the samples; filled by `keep`.
    """

    loaded: Surrogate
    header: Header
    inputs: list[Inputs]
    targets: list[Tensor]
    fields: list[Fields]
    truth: list[Fields]
    error_of_split: float
    errors: list[float]

    @classmethod
    def of(cls, loaded: Surrogate, path: Path, split: str, samples: int) -> Subject:
        """Read samples that are spread evenly over a split."""
        dataset = loaded.samples(path, split, trusted=True)
        with DataFile(path, trusted=True) as file:
            header, rows = file.header, file.indices(split)
            numbers = max(header.sample_nbytes // np.dtype(header.dtype).itemsize, 1)
            most = min(samples, max(POINTS // numbers, 1), len(rows))
            picks = np.linspace(0, len(rows) - 1, most).round().astype(int)
            held = [stored.sample(file, int(row)) for row in rows[picks]]
        items = [alone(dataset[int(i)]) for i in picks]
        outputs = {v.name for v in header.outputs}
        return cls(
            loaded=loaded,
            header=header,
            inputs=[Inputs.of(item) for item in items],
            targets=[item["outputs"] for item in items],
            fields=[{k: v for k, v in s.items() if k not in outputs} for s in held],
            truth=[{k: v for k, v in s.items() if k in outputs} for s in held],
            error_of_split=_error_of_split(loaded, dataset),
            errors=[],
        )

    @property
    def case(self) -> Case:
        """Of the data file."""
        return parse_stored(self.header.case, "data file", self.header.mesh)

    @property
    def steps(self) -> int:
        """Frames of a rollout; 1 where there is none."""
        return self.targets[0].shape[1] if self.loaded.model.history else 1

    def predict(self, i: int) -> Tensor:
        """Answer query i with the surrogate, on the CPU."""
        return self.loaded.predict(self.inputs[i], self.steps).cpu()

    def batch(self, size: int, count: int) -> list[Inputs]:
        """The first ``count`` queries, again and again, in one batch of so many.

        Batches of one where each sample has a mesh of its own: they are answered one
        by one.
        """
        rows = [self.inputs[i % count] for i in range(size)]
        return rows if self.header.ragged else [Inputs.joined(rows)]

    def queries(self, count: int) -> list[Fields]:
        """The stored inputs of the first queries, as few batches as a solver takes."""
        return stored.batches(self.fields[:count], self.header.ragged)

    def keep(self, i: int, prediction: Tensor) -> None:
        """Measure the answer to query i."""
        norm = self.loaded.domain_of(self.inputs[i])
        self.errors.append(_mean_error(self.loaded, prediction, self.targets[i], norm))

    def query(self, i: int) -> Fields:
        """The stored inputs of query i."""
        return self.fields[i]

    def error(self, i: int, outputs: Fields) -> float:
        """Measure stored-like outputs for query i as those of the surrogate."""
        return solver_scores.error(
            outputs,
            self.truth[i],
            self.header,
            self.loaded.config.recipe,
            self.loaded.domain_of(self.inputs[i]),
        )


def _mean_error(
    loaded: Surrogate, prediction: Tensor, target: Tensor, norm: Domain
) -> float:
    space = len(loaded.config.axes)
    errors = scores.sample_errors(prediction, target, space, norm)
    return float(errors.double().mean())


def _error_of_split(loaded: Surrogate, dataset: FieldDataset) -> float:
    numbers = int(dataset[0]["outputs"].nelement())
    count = min(len(dataset), max(scores.MAX_POINTS // numbers, 1))
    total = 0.0
    for batch in scores.read(dataset, count):
        steps = batch.outputs.shape[1] if loaded.model.history else 1
        prediction = loaded.predict(batch.inputs, steps).cpu()
        norm = loaded.domain_of(batch.inputs)
        total += len(prediction) * _mean_error(loaded, prediction, batch.outputs, norm)
    return total / count
