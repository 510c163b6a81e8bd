"""Progress of a training run in a notebook."""

from __future__ import annotations

from pathlib import Path

from opkit.base.notebook import notebook_bar
from opkit.train.loop.events import Epoch, Event, Progress, Started


def notebook_progress(run: Path) -> Progress | None:
    """Return a listener that shows epochs in the cell; None outside of a notebook.

    Args:
        run: run directory, for the label.
    """
    bar = notebook_bar(f"training -> {run}", "epochs")
    if bar is None:
        return None

    def show(event: Event) -> None:
        if isinstance(event, Started):
            bar.update(event.epoch, event.epochs)
        elif isinstance(event, Epoch):
            losses = f"loss {event.train_loss:.4f}, validation {event.validation:.4f}"
            bar.update(event.epoch, event.epochs, losses)

    return show
