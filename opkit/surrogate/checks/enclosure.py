"""How far predicted numbers can be from the true ones, proved by the case's solver.

    r(x) = max over numbers of max(high - p̂, p̂ - low) / s

where the solver proves low <= p <= high for the numbers p of its discrete problem, such
as energies of bound states (Krylov and Weinstein), and s is the root mean square of
that number over the training samples. The error of no number exceeds r s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from opkit.errors import OpkitInputError
from opkit.solvers.interface import Encloses
from opkit.surrogate.bundle.normalise import PackedNormaliser
from opkit.surrogate.checks.interface import Context, Pairs, Reading, WithoutTensors


@dataclass(frozen=True)
class Enclosure(WithoutTensors):
    """Proved bounds of the errors of numbers; the solver is built when first needed."""

    name: ClassVar[str] = "enclosure"
    of_input: ClassVar[bool] = False
    powers: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        """Try the solver on one sample; there is nothing to learn.

        Raises:
            OpkitInputError: no solver is known, or it proves no bounds.
        """
        if not isinstance(context.case_solver.solver, Encloses):
            raise OpkitInputError("the case's solver proves no bounds of numbers")
        if not isinstance(context.model.outputs, PackedNormaliser):
            raise OpkitInputError("there are no numbers among the outputs")
        check = cls(context)
        batch = next(iter(samples))
        check.score(Pairs(batch.inputs.rows(slice(1)), batch.outputs[:1]))
        return check

    def score(self, pairs: Pairs) -> Reading:
        """Return r (batch,), also by output; infinite where one is not finite."""
        outputs = self.context.model.outputs
        assert isinstance(outputs, PackedNormaliser)
        sizes = outputs.size.detach().cpu().double().numpy()
        solver = self.context.case_solver
        finite = pairs.outputs.isfinite().flatten(1).all(1).cpu()
        sound = pairs.outputs[finite]
        predicted = solver.as_stored(sound)
        proved = solver.enclosures(pairs.inputs.rows(finite), sound)
        by_variable, entry = {}, 0
        for v in self.context.config.outputs:
            if v.name in proved:
                low, high = proved[v.name]
                claimed, last = predicted[v.name], entry + v.channels
                width = np.maximum(high - claimed, claimed - low)
                width = width.reshape(len(width), -1) / sizes[entry:last]
                values = np.full(len(finite), np.inf)
                values[finite.numpy()] = width.max(1)
                by_variable[v.name] = values
            entry += v.channels
        return Reading(np.max(list(by_variable.values()), axis=0), by_variable)

    def describe(self) -> str:
        """Say what is read."""
        return "proved bound of the errors of numbers, by the case's solver"
