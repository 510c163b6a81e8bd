"""Faults of data and training that must be noticed, and what is said about them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator

import torch

from opkit.errors import DataError, OpkitError
from opkit.surrogate.bundle.normalise import Normaliser
from opkit.train.loop.batches import Sample, Samples

EXPLODED = 10.0
"""A training loss above this many times its lowest value so far has exploded."""


class TrainingError(OpkitError, ArithmeticError):
    """Training went wrong and was stopped; the last checkpoint is from before."""


def finite_samples(samples: Samples, split: str) -> Iterator[Sample]:
    """Yield every sample, as long as all its values are finite.

    Raises:
        DataError: a sample holds NaN or infinity; the message names it.
    """
    for index in range(len(samples)):
        sample = samples[index]
        for role, field in sample.items():
            if not torch.isfinite(field).all():
                raise DataError(
                    f"{split} sample {index}: its {role} hold NaN or infinity; "
                    "generate the data again, or leave this sample out"
                )
        yield sample


def digest(sample: Sample) -> bytes:
    """Return a digest of all that a model is given for one sample."""
    hashed = hashlib.blake2b(digest_size=16)
    for role in sorted(sample.keys() - {"outputs"}):
        hashed.update(sample[role].contiguous().numpy().tobytes())
    return hashed.digest()


def no_overlap(
    first: Iterable[bytes], other: Iterable[bytes], split: str, of: str = "training"
) -> None:
    """Refuse a split that shares inputs with one that the model has been fitted to.

    Args:
        first: digests of the samples that are used for fitting or choosing.
        other: digests of the samples of ``split``.
        split: name of the split that has to be independent.
        of: name of the samples in ``first``.

    Raises:
        DataError: the same inputs are in both; the message says how many and where.
    """
    seen = set(first)
    common = [index for index, key in enumerate(other) if key in seen]
    if common:
        raise DataError(
            f"{len(common)} {split} samples are also {of} samples (first: {split} "
            f"sample {common[0]}): remove them from one of the splits"
        )


def normaliser_of(stored: Normaliser, fitted: Normaliser, which: str) -> str | None:
    """Say whether a normaliser is the one that the training split gives."""
    for name in ("mean", "std"):
        a, b = getattr(stored, name), getattr(fitted, name)
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-5, atol=1e-7):
            return (
                f"the {which} normaliser was not fitted on this file's training split"
            )
    return None


class LossGuard:
    """Watches the training loss.

    Args:
        lowest: lowest epoch loss so far.
    """

    def __init__(self, lowest: float = math.inf) -> None:
        self.lowest = lowest

    def step(self, loss: float, epoch: int, step: int) -> None:
        """Check one batch.

        Raises:
            TrainingError: the loss is not finite.
        """
        if not math.isfinite(loss):
            raise TrainingError(
                f"loss is {loss} at epoch {epoch}, step {step}: lower "
                "training.learning_rate or set training.clip_norm=1"
            )

    def epoch(self, loss: float, epoch: int) -> None:
        """Check one epoch's mean.

        Raises:
            TrainingError: the loss has exploded.
        """
        if not loss <= EXPLODED * self.lowest:
            raise TrainingError(
                f"training loss rose from {self.lowest:.3g} to {loss:.3g} at epoch "
                f"{epoch}: lower training.learning_rate or set training.clip_norm=1"
            )
        self.lowest = min(self.lowest, loss)
