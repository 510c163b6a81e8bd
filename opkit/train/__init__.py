"""Training: a data file and a recipe become a run directory with a bundle."""

from opkit.runs import RunSummary, list_runs
from opkit.train.events import (
    Epoch,
    Event,
    Finished,
    Progress,
    Started,
    Step,
    Warned,
)
from opkit.train.fit import TrainingResult
from opkit.train.guards import TrainingError
from opkit.train.main import plan, train
from opkit.train.plan import Plan

__all__ = [
    "Epoch",
    "Event",
    "Finished",
    "Plan",
    "Progress",
    "RunSummary",
    "Started",
    "Step",
    "TrainingError",
    "TrainingResult",
    "Warned",
    "list_runs",
    "plan",
    "train",
]
