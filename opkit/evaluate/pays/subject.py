"""A surrogate and the samples on which it is held against the solver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from opkit.case.record import Case, parse_stored
from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.evaluate import scores
from opkit.evaluate import solver as solver_scores
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
        inputs: of the samples, for the surrogate.
        targets: their outputs as the surrogate gives them.
        fields: inputs as stored, float64.
        truth: outputs as stored, float64.
        error_of_split: of the surrogate on the whole split.
        errors: of the surrogate on the samples; filled by `keep`.
    """

    loaded: Surrogate
    header: Header
    inputs: Inputs
    targets: Tensor
    fields: Fields
    truth: Fields
    error_of_split: float
    errors: list[float]

    @classmethod
    def of(cls, loaded: Surrogate, path: Path, split: str, samples: int) -> Subject:
        """Read samples that are spread evenly over a split."""
        dataset = loaded.samples(path, split, trusted=True)
        with DataFile(path, trusted=True) as file:
            header, rows = file.header, file.indices(split)
            solver_scores.refuse_meshes(header, str(path))
            numbers = sum(int(np.prod(v.shape)) for v in header.outputs)
            most = min(samples, max(POINTS // numbers, 1), len(rows))
            picks = np.linspace(0, len(rows) - 1, most).round().astype(int)
            stored = {
                v.name: file.read(v.name, rows[picks]).astype(np.float64)
                for v in (*header.inputs, *header.outputs)
            }
        items = [dataset[int(i)] for i in picks]
        tensors = collate(items)
        return cls(
            loaded=loaded,
            header=header,
            inputs=Inputs.of(tensors),
            targets=tensors["outputs"],
            fields={v.name: stored[v.name] for v in header.inputs},
            truth={v.name: stored[v.name] for v in header.outputs},
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
        return self.targets.shape[1] if self.loaded.model.history else 1

    def predict(self, i: int) -> Tensor:
        """Answer query i with the surrogate, on the CPU."""
        return self.loaded.predict(self.inputs.rows(slice(i, i + 1)), self.steps).cpu()

    def keep(self, i: int, prediction: Tensor) -> None:
        """Measure the answer to query i."""
        target = self.targets[i : i + 1]
        self.errors.append(_mean_error(self.loaded, prediction, target))

    def query(self, i: int) -> Fields:
        """The stored inputs of query i."""
        return {name: values[i : i + 1] for name, values in self.fields.items()}

    def error(self, i: int, outputs: Fields) -> float:
        """Measure stored-like outputs for query i as those of the surrogate."""
        return solver_scores.error(
            outputs,
            {name: values[i : i + 1] for name, values in self.truth.items()},
            self.header,
            self.loaded.config.recipe,
            self.loaded.domain,
        )


def _mean_error(loaded: Surrogate, prediction: Tensor, target: Tensor) -> float:
    space = len(loaded.config.axes)
    errors = scores.sample_errors(prediction, target, space, loaded.domain)
    return float(errors.double().mean())


def _error_of_split(loaded: Surrogate, dataset: FieldDataset) -> float:
    numbers = int(dataset[0]["outputs"].nelement())
    count = min(len(dataset), max(scores.MAX_POINTS // numbers, 1))
    total = 0.0
    for batch in scores.read(dataset, count):
        steps = batch.outputs.shape[1] if loaded.model.history else 1
        prediction = loaded.predict(batch.inputs, steps).cpu()
        total += len(prediction) * _mean_error(loaded, prediction, batch.outputs)
    return total / count
