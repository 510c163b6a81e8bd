"""A surrogate between vectors: answers of three levels, and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import nn

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError, nearest
from opkit.serve.settings import Config, Settings
from opkit.serve.vectors import Part, arrays_of, input_parts, output_parts, vectors_of
from opkit.surrogate import Surrogate

MOST_VALUES = 10_000_000
"""Numbers in one answer: a rollout of more steps is refused before it is begun."""

Vectors = Sequence[Sequence[float]]
Worker = Literal["quick", "solver"]


class Asked:
    """A surrogate that answers in vectors.

    Args:
        surrogate: who answers.

    Raises:
        OpkitInputError: its variables have no lengths of their own.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate = surrogate
        self.inputs = input_parts(surrogate)

    def steps(self, settings: Settings) -> int | None:
        """Return the frames of a rollout; None of a surrogate that makes no steps.

        Raises:
            OpkitInputError: steps of such a surrogate; or more than can be answered.
        """
        if not self.surrogate.config.history:
            if settings.steps is not None:
                raise OpkitInputError("this surrogate makes no steps: leave steps away")
            return None
        steps = settings.steps or 1
        one = sum(part.size for part in output_parts(self.surrogate, 1))
        if steps * one > MOST_VALUES:
            raise OpkitInputError(
                f"{steps} steps are more than {MOST_VALUES:,} numbers: ask for at most "
                f"{MOST_VALUES // one}, and go on from the last"
            )
        return steps

    def outputs(self, settings: Settings) -> tuple[Part, ...]:
        """Return the outputs that are asked for.

        Raises:
            OpkitInputError: an output or a place in it that does not exist.
        """
        parts = output_parts(self.surrogate, self.steps(settings))
        if settings.outputs is not None:
            by_name = {part.name: part for part in parts}
            for name in settings.outputs:
                if name not in by_name:
                    hint = nearest(name, by_name) or f" It has {', '.join(by_name)}."
                    raise OpkitInputError(f"there is no output {name!r}.{hint}")
            parts = tuple(by_name[name] for name in settings.outputs)
        if settings.nodes is not None:
            shortest = min(parts, key=lambda part: part.size)
            if max(settings.nodes) >= shortest.size:
                raise OpkitInputError(
                    f"nodes has {max(settings.nodes)}: {shortest.name} has "
                    f"{shortest.size} values, 0 to {shortest.size - 1}"
                )
        return parts

    @cached_property
    def quantities(self) -> dict[str, str]:
        """Units of the quantities of interest by name; none without a calibration."""
        if self.surrogate.calibration is None:
            return {}
        return dict(self.surrogate.calibration.record.quantities)

    def _chosen(self, settings: Config) -> list[str]:
        """Return the names of the quantities that are asked for.

        Raises:
            OpkitInputError: there is none of a name.
        """
        names = settings.quantities or []
        for name in names:
            if name not in self.quantities:
                known = ", ".join(self.quantities) or "none"
                hint = nearest(name, self.quantities) or f" It has {known}."
                raise OpkitInputError(f"there is no quantity {name!r}.{hint}")
        return names

    def output_sizes(self, settings: Config) -> list[int]:
        """Return the length of each output vector."""
        settings.agree()
        parts = self.outputs(settings)
        nodes, count = settings.nodes, len(self._chosen(settings))
        sizes = [part.size if nodes is None else len(nodes) for part in parts]
        numbers = count + (1 + count) * settings.bound
        return sizes + [self.steps(settings) or 1] * numbers

    def worker(self, settings: Config) -> Worker:
        """Say whether the solver may be needed, which may take long."""
        judged = settings.bound or bool(settings.quantities)
        quick = settings.level == "surrogate" and not judged
        return "quick" if quick else "solver"

    def evaluate(self, vectors: Vectors, settings: Config) -> list[list[float]]:
        """Return output vectors of input vectors.

        First the outputs, then the quantities that are asked for, then the bound of the
        relative L2 error, and that of each quantity.
        """
        settings.agree()
        if settings.step is not None:
            raise OpkitInputError("step belongs to derivatives: leave it away")
        parts, names = self.outputs(settings), self._chosen(settings)
        arrays = arrays_of(self.inputs, vectors)
        steps = self.steps(settings)
        values, quantities, bounds = self._answer(arrays, steps, settings, names)
        for what, bound in bounds.items():
            if not np.isfinite(bound).all():
                raise OpkitInputError(
                    f"the {what} is infinite: {settings.coverage:g} needs more "
                    "calibration samples than there are, or a reading is infinite; "
                    "give a smaller coverage"
                )
        rows = vectors_of(parts, values, settings.nodes)
        numbers = [quantities[name] for name in names] + list(bounds.values())
        return rows + [np.asarray(n, np.float64).reshape(-1).tolist() for n in numbers]

    def _answer(
        self,
        arrays: dict[str, Array],
        steps: int | None,
        settings: Config,
        names: Sequence[str],
    ) -> tuple[Any, Mapping[str, Array], dict[str, Array]]:
        """Return outputs, quantities by name, and bounds by what they are of."""
        surrogate = self.surrogate
        if settings.level != "surrogate":
            exact = settings.level == "solver"
            tolerance = None if exact else settings.tolerance
            solved = surrogate.solve(
                arrays, tolerance, steps, coverage=settings.coverage, exact=exact
            )
            return solved.outputs, solved.quantities, {}
        if settings.bound or names:
            checked = self.check(arrays, steps, settings.coverage)
            known = checked.quantities
            bounds: dict[str, Array] = {}
            if settings.bound:
                bounds["error bound"] = checked.error_bound
                bounds |= {f"bound of {n}": known[n].error_bound for n in names}
            return checked.prediction, {n: known[n].value for n in names}, bounds
        if steps is None:
            return surrogate(arrays), {}, {}
        return surrogate.rollout(arrays, steps), {}, {}

    def check(
        self, arrays: dict[str, Array], steps: int | None, coverage: float
    ) -> Any:
        """Return a `Checked` of arrays by name."""
        if steps is None:
            return self.surrogate(arrays, check=True, coverage=coverage)
        return self.surrogate.rollout(arrays, steps, check=True, coverage=coverage)

    @cached_property
    def knows_hessian(self) -> bool:
        """Whether second derivatives of the operator mean something."""
        model = self.surrogate.model
        kinks = any(isinstance(layer, nn.ReLU) for layer in model.modules())
        return not kinks and not self.surrogate.shape.point_axes
