"""The best parameters of a case: a surrogate proposes, the solver decides.

    from opkit.optimise import minimise

    best = minimise(surrogate, objective, {"heights": None}, {"reynolds": 300.0})
    best.inputs, best.value, best.solves

`minimise_function` is the same search on any dear function with a cheap model.
"""

from opkit.optimise.design import Design, minimise
from opkit.optimise.trust_region import Optimum, minimise_function

__all__ = ["Design", "Optimum", "minimise", "minimise_function"]
