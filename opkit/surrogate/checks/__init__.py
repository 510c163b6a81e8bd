"""Checks of predictions: readings per sample, and error bounds calibrated on them.

A new check is a class in a file of this folder (see `interface.Check`) and a line in
`CHECKS`. Bundles made before it load and do without its reading.
"""

from opkit.surrogate.checks.enclosure import Enclosure
from opkit.surrogate.checks.interface import Check
from opkit.surrogate.checks.novelty import Novelty
from opkit.surrogate.checks.range import Range
from opkit.surrogate.checks.residual import Residual
from opkit.surrogate.checks.spread import Spread

CHECKS: tuple[type[Check], ...] = (Residual, Enclosure, Spread, Novelty, Range)
"""In the order of how directly they speak about the error of a prediction."""
ASK_SOLVER = frozenset({Residual.name, Enclosure.name})
"""Checks that the case's solver computes."""
