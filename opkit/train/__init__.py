"""Training: a data file and a recipe become a run directory with a bundle."""

from typing import TYPE_CHECKING

from opkit.base.face import call_as, late

if TYPE_CHECKING:
    from opkit.surrogate.bundle.run_list import RunSummary, list_runs
    from opkit.train.adaptive import Adaptive, AdaptiveRecord, Retraining
    from opkit.train.loop.events import (
        Epoch,
        Event,
        Finished,
        Progress,
        Started,
        Step,
        Warned,
    )
    from opkit.train.loop.fit import TrainingResult
    from opkit.train.loop.guards import TrainingError
    from opkit.train.loop.plan import Plan
    from opkit.train.main import plan, train

_MODULES = {
    "Adaptive": "opkit.train.adaptive",
    "AdaptiveRecord": "opkit.train.adaptive",
    "Retraining": "opkit.train.adaptive",
    "RunSummary": "opkit.surrogate.bundle.run_list",
    "list_runs": "opkit.surrogate.bundle.run_list",
    "Epoch": "opkit.train.loop.events",
    "Event": "opkit.train.loop.events",
    "Finished": "opkit.train.loop.events",
    "Progress": "opkit.train.loop.events",
    "Started": "opkit.train.loop.events",
    "Step": "opkit.train.loop.events",
    "Warned": "opkit.train.loop.events",
    "TrainingResult": "opkit.train.loop.fit",
    "TrainingError": "opkit.train.loop.guards",
    "Plan": "opkit.train.loop.plan",
    "plan": "opkit.train.main",
    "train": "opkit.train.main",
}
__all__ = [
    "Adaptive",
    "AdaptiveRecord",
    "Epoch",
    "Event",
    "Finished",
    "Plan",
    "Progress",
    "Retraining",
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
__getattr__, __dir__ = late(__name__, _MODULES)
call_as(__name__, "train")
