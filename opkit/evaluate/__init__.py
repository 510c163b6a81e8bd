"""How wrong a surrogate is, beside trivial predictors and the solver."""

from typing import TYPE_CHECKING

from opkit.base.face import call_as, late

if TYPE_CHECKING:
    from opkit.evaluate.run import Evaluation, evaluate

_MODULES = {
    "Evaluation": "opkit.evaluate.run",
    "evaluate": "opkit.evaluate.run",
}
__all__ = ["Evaluation", "evaluate"]
__getattr__, __dir__ = late(__name__, _MODULES)
call_as(__name__, "evaluate")
