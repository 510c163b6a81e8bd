"""What is left of a run that ends before its time, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opkit.errors import Interrupted
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.loop import checkpoint
from opkit.train.loop.guards import TrainingError


@contextmanager
def attempt(
    directory: RunDirectory, epochs: int, new: bool, main: bool
) -> Iterator[None]:
    """Keep a run directory that holds a finished epoch; remove a new one without.

    A directory whose training went wrong (`TrainingError`) stays, for its log says
    what happened; the next run of that name replaces it.

    Args:
        directory: of the run.
        epochs: that the run was to have.
        new: whether this attempt made the directory.
        main: whether this process writes the directory.

    Raises:
        Interrupted: instead of a KeyboardInterrupt; it says what was kept.
    """
    try:
        yield
    except TrainingError:
        raise
    except BaseException as error:
        epochs_kept = checkpoint.finished(directory.checkpoints)
        if main and new and not epochs_kept:
            directory.discard()
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(_summary(directory, epochs, epochs_kept, new)) from None
        raise


def _summary(directory: RunDirectory, epochs: int, epochs_kept: int, new: bool) -> str:
    path = directory.path
    if epochs_kept:
        count = "epoch 1" if epochs_kept == 1 else f"epochs 1 to {epochs_kept}"
        verb = "is" if epochs_kept == 1 else "are"
        return (
            f"{count} of {epochs} {verb} kept in {path}, go on with: "
            f"opkit train --resume {path}"
        )
    if new:
        return f"no epoch was finished, nothing is kept in {path}"
    return f"no epoch was finished, go on with: opkit train --resume {path}"
