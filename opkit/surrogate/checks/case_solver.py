"""The case's own solver on the grid of a surrogate: residuals and solutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.case.record import Case, parse_case
from opkit.errors import CaseError, OpkitInputError, SolverError
from opkit.solvers.interface import (
    Fields,
    Solution,
    Solver,
    Steps,
    TakesGuess,
    Tolerance,
    with_parameters,
)
from opkit.solvers.records import largest_change
from opkit.surrogate.bundle.record import BundleConfig, Channels

Array = NDArray[np.float64]
TRANSITIONS = 3
"""Steps of a rollout whose residual is measured: the first, the last, some between."""
BLOWN_UP = 1e3
"""Growth of a rollout beyond which no solver is asked: it would take for ever."""


@dataclass(frozen=True)
class Answer:
    """Solutions of a batch.

    Args:
        outputs: (batch, [steps,] channel, *space), float64.
        iterations: (batch,), NaN where the solver does not iterate.
        error: the solver's own measure (batch,).
    """

    outputs: Tensor
    iterations: Array
    error: Array


class Physics:
    """A case's solver between (batch, channel, *space) tensors.

    The solver works on the grid of the surrogate, also where that is a sub-sampling of
    the grid that the data were made on.

    Args:
        config: record of the surrogate.

    Raises:
        CaseError: imported data name no solver, or the solver is not known here.
        MissingExtraError: the solver needs an extra that is not installed.
    """

    def __init__(self, config: BundleConfig) -> None:
        if not config.case:
            raise CaseError("imported data name no case, so no solver is known")
        self.config = config
        self.case = _on_grid(parse_case(config.case, "bundle"), config)
        self.solver = self.case.build_solver()
        self.mode = config.recipe.mode
        timed = any("time" in v.dims for v in self.case.outputs)
        records = self.solver.records if isinstance(self.solver, Steps) else 1
        self.timed = timed
        self.single = timed and self.mode == "map"  # the last record alone
        if self.single and records > 1:
            raise CaseError(
                f"the surrogate gives the last of {records} records: a residual needs "
                "them all"
            )
        if self.mode == "autoregressive" and not isinstance(self.solver, Steps):
            raise CaseError("the solver has no records to advance one by one")

    @property
    def warm(self) -> bool:
        """Whether the solver takes a first guess."""
        return isinstance(self.solver, TakesGuess)

    def residual(
        self, inputs: Tensor, outputs: Tensor, beside: Tensor | None = None
    ) -> Array:
        """Return the solver's residual of predictions, (batch,).

        For rollouts the largest one over `TRANSITIONS` steps, each re-advanced from the
        predicted state before it. Infinite where the solver cannot go on from a
        prediction, and where a rollout has grown `BLOWN_UP` times. Raises what the
        solver raises for inputs that are not its own.
        """
        if self.mode != "autoregressive":
            given = self._inputs(inputs, beside)
            made, drift = self._without_means(given, self._outputs(outputs))
            return np.maximum(drift, self._measured(self.solver, given, made))
        solver = with_parameters(self.solver, records=1)
        steps = outputs.shape[1]
        states = torch.cat([inputs[:, -1:], outputs], 1).detach().cpu().double()
        picks = np.unique(np.linspace(0, steps - 1, TRANSITIONS).round().astype(int))
        states, drift = self._centred(states)
        worst = drift[:, picks + 1].max(1)
        sound = _sound(states)
        worst[~sound] = np.inf
        if not sound.any():
            return worst
        states, beside = states[sound], None if beside is None else beside[sound]

        def change(before: Tensor, after: Tensor) -> Array:
            state = _fields(after, self.config.outputs, self._layered)
            record = {name: values[:, None] for name, values in state.items()}
            return self._measured(solver, self._initial(before, beside), record)

        found = largest_change(lambda k: states[:, k], change, picks + 1)
        worst[sound] = np.maximum(worst[sound], found)
        return worst

    def _centred(self, states: Tensor) -> tuple[Tensor, Array]:
        """Take out means that a periodic flow cannot have; return them, relative.

        Solvers for vorticity refuse a mean that is not zero; in a prediction it is an
        error like others.
        """
        space = tuple(range(3, states.ndim))
        none = np.zeros(states.shape[:2])
        if not all(self.config.shape.periodic):
            return states, none
        mean = states.mean(space, keepdim=True)
        if (mean[:, 0].abs().amax() > 1e-5 * states[:, 0].abs().amax()).item():
            return states, none
        size = states.square().mean(space).sqrt().clamp(min=1e-300)
        relative = (mean.view(size.shape).abs() / size).amax(-1)
        return states - mean, relative.numpy()

    def _without_means(
        self, inputs: dict[str, Any], outputs: dict[str, Any]
    ) -> tuple[dict[str, Any], Array]:
        """As `_centred`, for all records of (batch, time, ..., *space) outputs."""
        made, worst = {}, np.zeros(len(next(iter(outputs.values()))))
        space = tuple(range(-len(self.case.space), 0))
        for name, values in outputs.items():
            initial = inputs.get(f"initial_{name}")
            made[name] = values
            if not (self.timed and all(self.case.periodic.values())):
                continue
            if initial is None or (
                np.abs(initial.mean(space)).max() > 1e-5 * np.abs(initial).max()
            ):
                continue
            mean = values.mean(space, keepdims=True)
            size = np.sqrt(np.square(values).mean(space)).clip(1e-300)
            drift = np.abs(mean.reshape(size.shape)) / size
            worst = np.maximum(worst, drift.reshape(len(worst), -1).max(1))
            made[name] = values - mean
        return made, worst

    def solve(
        self,
        inputs: Tensor,
        guess: Tensor | None = None,
        steps: int = 1,
        beside: Tensor | None = None,
        rtol: float | None = None,
    ) -> Answer:
        """Solve a batch, from a guess of the outputs where the solver takes one.

        Args:
            inputs: (batch, [history,] channel, *space), physical units.
            guess: (batch, channel, *space).
            steps: records after the inputs, for autoregressive surrogates.
            beside: fields given beside the inputs.
            rtol: looser than the case's own, for solvers that iterate.

        Raises:
            SolverError: the solver keeps no promise for one of the inputs.
        """
        solver = self.solver
        if rtol is not None and self.warm and isinstance(solver, Tolerance):
            solver = with_parameters(solver, rtol=max(rtol, solver.rtol))
        if self.mode == "autoregressive":
            solver = with_parameters(solver, records=steps)
            fields = self._initial(inputs[:, -1], beside)
        else:
            fields = self._inputs(inputs, beside)
        if guess is not None and isinstance(solver, TakesGuess):
            solution = solver.solve_from(fields, self._outputs(guess))
        else:
            solution = solver.solve(fields)
        return self._solved(solution)

    def _solved(self, solution: Solution) -> Answer:
        parts = []
        timed = self.mode == "autoregressive"
        for v in self.config.outputs:
            values = torch.from_numpy(np.asarray(solution.outputs[v.name], np.float64))
            if self.single:
                values = values[:, -1]
            axis = 2 if timed else 1
            if v.name not in self._layered:
                values = values.unsqueeze(axis)
            elif self.mode == "space-time":
                values = values.movedim(2, 1)
            parts.append(values)
        outputs = torch.cat(parts, 2 if timed else 1)
        none = np.full(len(outputs), np.nan)
        iterations = np.asarray(solution.details.get("iterations", none), np.float64)
        return Answer(outputs, iterations, solution.error)

    @property
    def _layered(self) -> set[str]:
        return {
            v.name for v in (*self.case.inputs, *self.case.outputs) if "layer" in v.dims
        }

    def _inputs(self, inputs: Tensor, beside: Tensor | None) -> dict[str, Any]:
        if self.mode == "space-time":  # inputs without time were repeated along it
            timed = {v.name for v in self.case.inputs if "time" in v.dims}
            found = _fields(inputs, self.config.inputs, self._layered)
            for name, values in found.items():
                first = 2 if name in self._layered else 1
                if name not in timed:
                    found[name] = np.take(values, 0, axis=first)
                elif first == 2:
                    found[name] = np.moveaxis(values, 2, 1)
            return found
        found = _fields(inputs, self.config.inputs, self._layered)
        if beside is not None:
            found |= _fields(beside, self.config.boundary, self._layered)
        return found

    def _outputs(self, outputs: Tensor) -> dict[str, Any]:
        found = _fields(outputs, self.config.outputs, self._layered)
        if self.single:
            return {name: values[:, None] for name, values in found.items()}
        if self.mode == "space-time":
            for name in self._layered & found.keys():
                found[name] = np.moveaxis(found[name], 1, 2)
        return found

    def _initial(self, state: Tensor, beside: Tensor | None) -> dict[str, Any]:
        """Fields to advance from: the states that the case names as initial ones."""
        given = _fields(state, self.config.outputs, self._layered)
        wanted = {v.name for v in self.case.inputs}
        found = {
            f"initial_{name}": values
            for name, values in given.items()
            if f"initial_{name}" in wanted
        }
        static = [
            Channels(name=v.name, units=v.units, channels=1)
            for v in self.case.inputs
            if v.name not in found
        ]
        if static and beside is not None:
            found |= _fields(beside, tuple(static), self._layered)
        return found

    def _measured(self, solver: Solver, inputs: Fields, outputs: Fields) -> Array:
        """Residuals; infinite for predictions that the solver cannot go on from."""
        try:
            return np.asarray(solver.residual(inputs, outputs), np.float64)
        except SolverError:
            pass
        except OpkitInputError:
            if all(np.isfinite(values).all() for values in outputs.values()):
                raise
        count = len(next(iter(outputs.values())))
        if count == 1:
            return np.array([np.inf])
        parts = []
        for i in range(count):
            one = ({k: v[i : i + 1] for k, v in f.items()} for f in (inputs, outputs))
            parts.append(self._measured(solver, *one))
        return np.concatenate(parts)


def _on_grid(case: Case, config: BundleConfig) -> Case:
    if config.shape.inputs_on != "grid":
        return case
    sizes = dict(zip(config.axes, config.shape.shape, strict=True))
    grid = tuple(sizes[axis] for axis in case.space)
    return case.model_copy(update={"resolution": grid})


def _sound(states: Tensor) -> NDArray[np.bool_]:
    """Tell which rollouts (batch, time, ...) stay finite and have not blown up."""
    size = states.flatten(2).square().mean(2).sqrt()
    largest = torch.where(size[:, 0] > 0, BLOWN_UP * size[:, 0], torch.inf)
    good = size.isfinite().all(1) & (size.amax(1) <= largest)
    found: NDArray[np.bool_] = good.numpy()
    return found


def _fields(
    tensor: Tensor, variables: tuple[Channels, ...], layered: set[str]
) -> dict[str, Any]:
    """Split (batch, channel, *space) into float64 arrays by variable."""
    parts = torch.split(
        tensor.detach().cpu().double(), [v.channels for v in variables], 1
    )
    return {
        v.name: (part if v.name in layered else part[:, 0]).numpy()
        for v, part in zip(variables, parts, strict=True)
    }
