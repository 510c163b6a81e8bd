"""Whether a surrogate pays: against the solver, at its error, training included."""

from opkit.evaluate.pays import words
from opkit.evaluate.pays.measurement import measure
from opkit.evaluate.pays.record import Pays

__all__ = ["Pays", "measure", "words"]
