"""The best numbers of a sample, by a surrogate and the solver of its case.

    minimise J(u(z), z)   subject to   low <= z <= high,   c(z) >= 0

u is the solver's solution for the numbers z. The surrogate and its gradients propose;
what is accepted was solved, each solve from the prediction where that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError, SolverError, nearest
from opkit.optimise.trust_region import minimise_function
from opkit.solvers.interface import TakesGuess
from opkit.surrogate.surrogate import Surrogate

Tensors = Mapping[str, Tensor]
Objective = Callable[[Tensors, Tensors], Tensor]
"""Maps outputs and inputs of one sample, tensors by name, to a number."""
Range = tuple[ArrayLike, ArrayLike] | None


@dataclass(frozen=True)
class Design:
    """The best numbers that were solved.

    Args:
        inputs: of the case, name to array, without a batch axis.
        outputs: the solver's, likewise.
        value: J of them.
        predicted: J of the surrogate's outputs for the same inputs.
        solves: how many there were.
        history: the best value after each of them.
        ended: see `opkit.optimise.trust_region.Optimum`.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    value: float
    predicted: float
    solves: int
    history: tuple[float, ...]
    ended: Literal["radius", "model", "budget"]


def minimise(
    surrogate: Surrogate,
    objective: Objective,
    vary: Mapping[str, Range],
    fixed: Mapping[str, ArrayLike] | None = None,
    *,
    start: Mapping[str, ArrayLike] | None = None,
    constraint: Callable[[Mapping[str, Array]], ArrayLike] | None = None,
    budget: int = 50,
    radius: float = 0.2,
    tolerance: float = 1e-3,
    enough: float = 1e-4,
    poll: bool = False,
) -> Design:
    """Minimise a function of a case's solutions over its numbers per sample.

    Args:
        surrogate: of a case whose numbers per sample are varied.
        objective: J, from outputs and inputs of one sample, tensors by name without a
            batch axis, to a scalar tensor; called with the surrogate's in float32, for
            gradients, and with the solver's in float64.
        vary: name to (low, high), numbers or (component,); None takes the support of
            the case's law.
        fixed: the other inputs, by name, without a batch axis.
        start: of the numbers that vary; the middle of the bounds where not given.
        constraint: c, from the numbers that vary, by name; all has to be 0 or more.
        budget: solves at most.
        radius: of the first box around the start, in parts of the bounds' width.
        tolerance: radius at which to stop, in the same parts.
        enough: relative gain that a solve has to promise.
        poll: prove the optimum by polls of the solver, along each axis, where the
            surrogate fails: right for any surrogate, and several times as dear.

    Returns:
        The best design that was solved.

    Raises:
        OpkitInputError: inputs that the case does not have or lacks, an objective that
            is no finite scalar tensor, a surrogate of steps in time, or bounds that
            cannot be.
        CaseError: the case's solver is not known here.
        MissingExtraError: it is not installed.
    """
    problem = _Problem(surrogate, objective, vary, dict(fixed or {}))
    begin = None if start is None else problem.flat(start, "start")

    def margin(z: Array) -> Array:
        assert constraint is not None
        return np.asarray(constraint(problem.numbers(z)), np.float64)

    found = minimise_function(
        problem.solved,
        problem.predicted,
        problem.low,
        problem.high,
        start=begin,
        constraint=None if constraint is None else margin,
        budget=budget,
        radius=radius,
        tolerance=tolerance,
        enough=enough,
        poll=poll,
    )
    return Design(
        problem.inputs(found.z),
        problem.outputs,
        found.value,
        problem.predicted(found.z)[0],
        found.evaluations,
        found.history,
        found.ended,
    )


class _Problem:
    """J by the surrogate and by the solver, as functions of a vector z."""

    def __init__(
        self,
        surrogate: Surrogate,
        objective: Objective,
        vary: Mapping[str, Range],
        fixed: Mapping[str, ArrayLike],
    ) -> None:
        config = surrogate.config
        if config.recipe.arrangement.needs_time:
            raise OpkitInputError(
                "minimise: the surrogate steps in time: give one of mode map"
            )
        own = surrogate.context.case_solver
        laws = own.case.parameters
        if not vary:
            raise OpkitInputError("minimise: nothing varies: give names in vary")
        for name in vary:
            if name not in laws:
                raise OpkitInputError(
                    f"minimise: {name!r} is no number per sample of the case."
                    f"{nearest(name, laws)}"
                )
        needed = [v.name for v in config.all_inputs]
        twice, there = vary.keys() & fixed.keys(), {*vary, *fixed}
        if twice or there != set(needed):
            raise OpkitInputError(
                f"minimise: vary {', '.join(vary)} and fixed {', '.join(fixed)}: give "
                f"each of {', '.join(needed)} in one of them"
            )
        self.surrogate, self.objective, self.solver = surrogate, objective, own.solver
        self.fixed = {name: np.asarray(a, np.float64) for name, a in fixed.items()}
        self.shapes = {name: laws[name].shape for name in vary}
        ends = {
            name: laws[name].support if given is None else given
            for name, given in vary.items()
        }
        self.low = self.flat({name: end[0] for name, end in ends.items()}, "low")
        self.high = self.flat({name: end[1] for name, end in ends.items()}, "high")
        self.best, self.outputs = np.inf, dict[str, Array]()

    def flat(self, numbers: Mapping[str, ArrayLike], what: str) -> Array:
        """Join numbers by name to z.

        Raises:
            OpkitInputError: other names or shapes.
        """
        if numbers.keys() != self.shapes.keys():
            raise OpkitInputError(
                f"minimise: {what} has {', '.join(numbers)}: give "
                f"{', '.join(self.shapes)}"
            )
        parts = []
        for name, shape in self.shapes.items():
            try:
                part = np.broadcast_to(np.asarray(numbers[name], np.float64), shape)
            except (ValueError, TypeError) as error:
                raise OpkitInputError(
                    f"minimise: {what} of {name}: give a number or shape {shape}"
                ) from error
            parts.append(part.ravel())
        return np.concatenate(parts)

    def numbers(self, z: Array) -> dict[str, Array]:
        """Take z apart by name."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        parts = np.split(z, np.cumsum(sizes)[:-1])
        pairs = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(shape) for (name, shape), part in pairs}

    def inputs(self, z: Array) -> dict[str, Array]:
        """Return all inputs of a sample."""
        return {**self.fixed, **self.numbers(z)}

    def predicted(self, z: Array) -> tuple[float, Array]:
        """Return J by the surrogate, and its gradient."""
        vector = torch.tensor(z, dtype=self.surrogate.dtype, requires_grad=True)
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        pairs = zip(self.shapes.items(), torch.split(vector, sizes), strict=True)
        numbers = {name: part.reshape(shape) for (name, shape), part in pairs}
        others = {n: torch.tensor(a).to(vector) for n, a in self.fixed.items()}
        inputs = others | numbers
        batch = {name: tensor[None] for name, tensor in inputs.items()}
        outputs = {name: u[0] for name, u in self.surrogate(batch).items()}
        value = self._scalar(self.objective(outputs, inputs))
        if not value.requires_grad:
            return float(value), np.zeros_like(z)
        (gradient,) = torch.autograd.grad(value, vector)
        return float(value.detach()), gradient.double().numpy()

    def solved(self, z: Array) -> float:
        """Return J by the solver; infinite where that does not converge."""
        inputs = self.inputs(z)
        batch = {name: array[None] for name, array in inputs.items()}
        try:
            if isinstance(self.solver, TakesGuess):
                guess = self.surrogate(
                    {n: a.astype(np.float32) for n, a in batch.items()}
                )
                guess = {name: np.asarray(u, np.float64) for name, u in guess.items()}
                solution = self.solver.solve_from(batch, guess)
            else:
                solution = self.solver.solve(batch)
        except SolverError:
            return np.inf
        outputs = {name: np.asarray(u[0]) for name, u in solution.outputs.items()}
        value = float(self._scalar(self.objective(_tensors(outputs), _tensors(inputs))))
        if value < self.best:
            self.best, self.outputs = value, outputs
        return value

    def _scalar(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise OpkitInputError(
                f"minimise: the objective gives {type(value).__name__}: give a tensor "
                "of one number"
            )
        return value.reshape(())


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}
