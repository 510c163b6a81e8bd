"""A surrogate as the preconditioner of its own case's equations.

    B(r) = |r| / s · f(a, s r / |r|)

f is the surrogate, a its other inputs and s the size of the sources that it was trained
on: B is homogeneous, so residuals may fall as far as they like. With ``odd`` it is also
odd, B(-r) = -B(r), at twice the cost. `solve` puts B into flexible conjugate gradients,
after a first guess by the surrogate itself, and always reaches its tolerance
(`opkit.solvers.krylov`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.solvers.interface import Equations, LinearInSource, with_parameters
from opkit.solvers.krylov import Solved, flexible_cg, scaled_guess
from opkit.surrogate.adapters.refuse import check_inputs
from opkit.surrogate.bundle import forward
from opkit.surrogate.surrogate import Surrogate

Given = Mapping[str, NDArray[Any]]


class Learned:
    """The map r -> z of a surrogate, for the equations of one sample.

    Args:
        surrogate: of a case whose solver is `LinearInSource`.
        inputs: of one sample, name to array (*space), on any grid that the operator
            takes; the source may be among them.
        odd: use (f(r) - f(-r)) / 2, which is also linear where f is affine in r.

    Raises:
        OpkitInputError: another solver, more than one output, inputs in time, or
            inputs that are missing or of different shapes.
    """

    def __init__(self, surrogate: Surrogate, inputs: Given, odd: bool = False) -> None:
        self.surrogate, self.odd = surrogate, odd
        config = surrogate.config
        source = linear_solver(surrogate).source_name()
        names = [v.name for v in config.inputs]
        self._row = names.index(source)
        known = [np.asarray(inputs[n]) for n in names if n != source and n in inputs]
        if len(known) != len(names) - 1 or len({a.shape for a in known}) > 1:
            others = ", ".join(n for n in names if n != source)
            raise OpkitInputError(
                f"preconditioner: give {others} of one sample, on one grid"
            )
        fields = list(known)
        fields.insert(self._row, np.zeros_like(known[0]))
        stacked = torch.from_numpy(np.stack(fields)).to(surrogate.dtype)
        self._fields = stacked[None].repeat(2 if odd else 1, 1, 1, 1)
        # once, and not at each step: it warns on other grids than the one trained on
        check_inputs(config, surrogate.shape, Inputs(self._fields), surrogate.dtype)
        normaliser = surrogate.model.inputs
        mean, std = normaliser.mean[self._row], normaliser.std[self._row]
        self._size = float((mean.square() + std.square()).sqrt())

    def __call__(self, r: Array) -> Array:
        """Return B(r), of the shape of r; NaN where the surrogate gives that."""
        size = float(np.sqrt(np.mean(r * r)))
        if not size > 0:
            return np.zeros_like(r)
        unit = torch.from_numpy(r * (self._size / size)).to(self._fields.dtype)
        self._fields[0, self._row] = unit
        if self.odd:
            self._fields[1, self._row] = -unit
        with torch.inference_mode():
            answer = self._answer()
        z: Array = answer.double().numpy() * (size / self._size)
        return z

    def _answer(self) -> Tensor:
        fields = self._fields.to(self.surrogate.device)
        u = forward.predict(self.surrogate.model, Inputs(fields))[:, 0].cpu()
        return 0.5 * (u[0] - u[1]) if self.odd else u[0]


def linear_solver(surrogate: Surrogate) -> LinearInSource:
    """Return the solver of a surrogate's case.

    Raises:
        OpkitInputError: it is not `LinearInSource`, or the surrogate does not map
            fields to one field.
        CaseError: the solver is not known here.
        MissingExtraError: it is not installed.
    """
    solver = surrogate.context.case_solver.solver
    config = surrogate.config
    plain = not (config.parameters or config.series or config.by_role["static"])
    one = len(config.outputs) == 1 and config.outputs[0].channels == 1
    still = not config.recipe.arrangement.needs_time
    if not isinstance(solver, LinearInSource) or not (plain and one and still):
        name = config.case.get("name", "imported data")
        raise OpkitInputError(
            f"preconditioner: {name} is not a case of one field that is linear in a "
            "source (opkit.solvers.interface.LinearInSource): use surrogate.solve"
        )
    return solver


def equations(surrogate: Surrogate, inputs: Given) -> Equations:
    """Return the equations of one sample, on the grid of its inputs.

    Raises:
        OpkitInputError: as `linear_solver`, and for inputs that the solver refuses.
    """
    solver = linear_solver(surrogate)
    source = np.asarray(inputs.get(solver.source_name(), 0.0))
    if source.ndim != 2:
        raise OpkitInputError(
            f"{solver.source_name()}: give one field (y, x), not shape {source.shape}"
        )
    on_grid: LinearInSource = with_parameters(solver, resolution=source.shape)
    return on_grid.equations({name: np.asarray(a) for name, a in inputs.items()})


def solve(
    surrogate: Surrogate,
    inputs: Given,
    *,
    tolerance: float = 1e-8,
    odd: bool = False,
    guess: bool = True,
    restart: int = 20,
    patience: int | None = 20,
    max_iterations: int = 5000,
) -> Solved:
    """Solve one sample by flexible conjugate gradients around the surrogate.

    The first guess is the surrogate's answer times the factor that is best in the
    energy norm, so it is never worse than zero. Where the surrogate is of no use the
    conventional preconditioner of the solver takes over.

    Args:
        surrogate: of a case whose solver is `LinearInSource`.
        inputs: of one sample, name to array (*space), on any grid that the operator
            takes.
        tolerance: relative residual |b - A u| / |b| to reach, Euclidean.
        odd: see `Learned`.
        guess: start from the surrogate's answer, not from zero.
        restart: see `opkit.solvers.krylov.flexible_cg`.
        patience: likewise.
        max_iterations: likewise.

    Returns:
        The solution, with a residual below the tolerance.

    Raises:
        OpkitInputError: no such case, or inputs that cannot be.
        NotConvergedError: ``max_iterations`` were not enough, or the tolerance lies
            below rounding.
    """
    system = equations(surrogate, inputs)
    learned = Learned(surrogate, inputs, odd)

    def precondition(r: Array) -> Array:
        return np.where(system.free, learned(r), 0.0)

    start = None
    if guess:
        start = scaled_guess(system.apply, system.right, precondition(system.right))
    return flexible_cg(
        system.apply,
        system.right,
        precondition,
        tolerance=tolerance,
        start=start,
        conventional=system.conventional,
        restart=restart,
        patience=patience,
        max_iterations=max_iterations,
    )
