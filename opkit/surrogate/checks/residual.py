"""Whether a prediction solves the PDE: the residual by the case's own solver.

For elliptic problems the relative residual |f - A û| / |f| of the discrete equations, 1
for û = 0; for rollouts the largest relative change on re-advancing predicted states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from opkit.surrogate.checks.interface import Context, Pairs, Reading, WithoutTensors


@dataclass(frozen=True)
class Residual(WithoutTensors):
    """The solver's residual of predictions; the solver is built when first needed."""

    name: ClassVar[str] = "residual"
    of_input: ClassVar[bool] = False
    powers: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        """Try the solver on one sample; there is nothing to learn.

        Raises:
            OpkitInputError: no solver is known, or it has no residual in this mode.
        """
        check = cls(context)
        batch = next(iter(samples))
        check.score(Pairs(batch.inputs.rows(slice(1)), batch.outputs[:1]))
        return check

    def score(self, pairs: Pairs) -> Reading:
        """Return r (batch,); see `CaseSolver.residual`."""
        return Reading(self.context.case_solver.residual(pairs.inputs, pairs.outputs))

    def describe(self) -> str:
        """Name the solver."""
        return f"residual of the PDE, by {self.context.case_solver.case.solver.target}"
