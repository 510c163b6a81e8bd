"""The case's own solver on the grid of a surrogate: residuals and solutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Array
from opkit.case.record import Case, parse_stored
from opkit.datasets.header import Mesh
from opkit.errors import CaseError, OpkitInputError, SolverError
from opkit.operators.inputs import Inputs
from opkit.solvers.interface import (
    MESH_ARRAYS,
    POINTS,
    Driven,
    Encloses,
    Fields,
    MeshPerSample,
    Solution,
    Solver,
    Steps,
    TakesGuess,
    Tolerance,
    with_parameters,
)
from opkit.solvers.records import largest_change
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels

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
        case: whose solver it was, as that solver was set.
        solver: that solved.
        inputs: as the case names and stores them (batch, ...), float64.
        solution: as the solver gave it.
        double: whether an input field was given in float64.
        alone: answers of the samples one by one, where each has a mesh of its own;
            ``inputs`` and ``solution`` are then those of the first.
    """

    outputs: Tensor
    iterations: Array
    error: Array
    case: Case
    solver: Solver
    inputs: Fields
    solution: Solution
    double: bool
    alone: tuple[Answer, ...] = ()

    @property
    def batches(self) -> tuple[Answer, ...]:
        """The same in batches of samples that fit together."""
        return self.alone or (self,)


class CaseSolver:
    """A case's solver between (batch, channel, *space) tensors.

    The solver works on the grid of the surrogate, also where that is a sub-sampling of
    the grid that the data were made on.

    Args:
        config: record of the surrogate.
        mesh: that the surrogate was built for; None on a grid.

    Raises:
        CaseError: imported data name no solver, or the solver is not known here.
        MissingExtraError: the solver needs an extra that is not installed.
    """

    def __init__(self, config: BundleConfig, mesh: Mesh | None = None) -> None:
        if not config.case:
            raise CaseError("imported data name no case, so no solver is known")
        self.config = config
        stored = _on_grid(parse_stored(config.case, "bundle", mesh), config)
        self.case = _in_order(stored, config)
        self.solver = self.case.build_solver()
        self.mode = config.recipe.arrangement
        fields = {v.name for v in config.outputs if v.kind == "field"}
        timed = any("time" in v.dims for v in self.case.outputs if v.name in fields)
        records = self.solver.records if isinstance(self.solver, Steps) else 1
        self.timed = timed
        if timed and not self.mode.needs_time and records > 1:
            raise CaseError(
                f"the surrogate gives the last of {records} records: a residual needs "
                "them all"
            )
        if self.mode.history and not isinstance(self.solver, Steps):
            raise CaseError("the solver has no records to advance one by one")
        driven = isinstance(self.solver, Driven)
        if self.mode.history and config.series and not driven:
            raise CaseError(
                "the solver does not say that it goes on from a state by functions of "
                "time (opkit.solvers.interface.Driven)"
            )
        self._before = int(driven)

    @property
    def warm(self) -> bool:
        """Whether the solver takes a first guess."""
        return isinstance(self.solver, TakesGuess)

    def residual(self, inputs: Inputs, outputs: Tensor) -> Array:
        """Return the solver's residual of predictions, (batch,).

        For rollouts the largest one over `TRANSITIONS` steps, each re-advanced from the
        predicted state before it. Infinite where the solver cannot go on from a
        prediction, and where a rollout has grown `BLOWN_UP` times. Raises what the
        solver raises for inputs that are not its own.
        """
        if isinstance(self.solver, MeshPerSample) and inputs.batch > 1:
            alone = zip(inputs.split(1), torch.split(outputs, 1), strict=True)
            return np.concatenate([self.residual(*one) for one in alone])
        if not self.mode.history:
            fields = self.inputs(inputs)
            records, drift = self._without_means(fields, self.as_stored(outputs))
            return np.maximum(drift, self._measured(self.solver, fields, records))
        solver = with_parameters(self.solver, records=1)
        steps = outputs.shape[1]
        states = torch.cat([inputs.fields[:, -1:], outputs], 1).detach().cpu().double()
        picks = np.unique(np.linspace(0, steps - 1, TRANSITIONS).round().astype(int))
        states, drift = self._centred(states)
        worst = drift[:, picks + 1].max(1)
        sound = _sound(states)
        worst[~sound] = np.inf
        if not sound.any():
            return worst
        states, inputs = states[sound], inputs.rows(torch.from_numpy(sound))

        def change(before: int, after: int) -> Array:
            pair = [states[:, before], states[:, after]][1 - self._before :]
            each = [self._split(state, self.config.outputs) for state in pair]
            records = {v: np.stack([s[v] for s in each], 1) for v in each[0]}
            fields = self._initial(states[:, before], inputs, before)
            return self._measured(solver, fields, records)

        changes = largest_change(lambda k: k, change, picks + 1)
        worst[sound] = np.maximum(worst[sound], changes)
        return worst

    def enclosures(
        self, inputs: Inputs, outputs: Tensor
    ) -> Mapping[str, tuple[Array, Array]]:
        """Return proved bounds of numbers by name; see `Encloses`.

        Raises:
            CaseError: the solver proves none.
        """
        if not isinstance(self.solver, Encloses):
            raise CaseError(f"{self.case.solver.target} proves no bounds of numbers")
        return self.solver.enclosures(self.inputs(inputs), self.as_stored(outputs))

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
        centred, worst = {}, np.zeros(len(next(iter(outputs.values()))))
        space = tuple(range(-len(self.case.space), 0))
        for name, values in outputs.items():
            initial = inputs.get(f"initial_{name}")
            centred[name] = values
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
            centred[name] = values - mean
        return centred, worst

    def solve(
        self,
        inputs: Inputs,
        guess: Tensor | None = None,
        steps: int = 1,
        rtol: float | None = None,
    ) -> Answer:
        """Solve a batch, from a guess of the outputs where the solver takes one.

        Args:
            inputs: a batch, physical units.
            guess: (batch, channel, *space).
            steps: records after the inputs, for autoregressive surrogates.
            rtol: looser than the case's own, for solvers that iterate.

        Raises:
            SolverError: the solver keeps no promise for one of the inputs.
        """
        solver = self.solver
        if isinstance(solver, MeshPerSample) and inputs.batch > 1:
            guesses: list[Tensor | None] = [None] * inputs.batch
            if guess is not None:
                guesses = list(torch.split(guess, 1))
            alone = zip(inputs.split(1), guesses, strict=True)
            answers = [self.solve(one, g, steps, rtol) for one, g in alone]
            return replace(
                answers[0],
                outputs=torch.cat([a.outputs for a in answers]),
                iterations=np.concatenate([a.iterations for a in answers]),
                error=np.concatenate([a.error for a in answers]),
                alone=tuple(answers),
            )
        if rtol is not None and self.warm and isinstance(solver, Tolerance):
            solver = with_parameters(solver, rtol=max(rtol, solver.rtol))
        if self.mode.history:
            solver = with_parameters(solver, records=steps)
            fields = self._initial(inputs.fields[:, -1], inputs, 0, steps)
        else:
            fields = self.inputs(inputs)
        if guess is not None and isinstance(solver, TakesGuess):
            solution = solver.solve_from(fields, self.as_stored(guess))
        else:
            solution = solver.solve(fields)
        case = self.case
        if self.mode.history:
            case = _with_records(case, steps)
        outputs, iterations = self._solved(solution)
        given = (inputs.fields, inputs.static, inputs.boundary)
        return Answer(
            outputs,
            iterations,
            solution.error,
            case,
            solver,
            fields,
            solution,
            any(f is not None and f.numel() and f.dtype == torch.double for f in given),
        )

    def _solved(self, solution: Solution) -> tuple[Tensor, Array]:
        parts = []
        packed = self.config.shape.packing is not None
        for v in self.config.outputs:
            values = np.asarray(solution.outputs[v.name], np.float64)
            if v.kind != "field":
                parts.append(torch.from_numpy(values.reshape(len(values), 1, -1)))
                continue
            part = self.mode.from_records(
                values, v.name in self._timed, v.name in self._layered
            )
            if self.mode.history:
                part = part[:, self._before :]
            flat = part.reshape(len(part), 1, -1) if packed else part
            parts.append(torch.from_numpy(np.ascontiguousarray(flat)))
        outputs = torch.cat(parts, 2 if self.mode.history or packed else 1)
        none = np.full(len(outputs), np.nan)
        iterations = np.asarray(solution.details.get("iterations", none), np.float64)
        return outputs, iterations

    @property
    def _layered(self) -> set[str]:
        return self._with("layer")

    @property
    def _timed(self) -> set[str]:
        return self._with("time")

    def _with(self, dim: str) -> set[str]:
        variables = (*self.case.inputs, *self.case.outputs)
        return {v.name for v in variables if dim in v.dims}

    def inputs(self, inputs: Inputs) -> dict[str, Any]:
        """Return inputs as the case names and stores them, float64."""
        values = self._split(inputs.fields, self.config.inputs)
        if inputs.boundary is not None:
            values |= self._split(inputs.boundary, self.config.boundary)
        values |= self._series(inputs)
        return values | self._numbers(inputs) | self._mesh(inputs)

    def _series(
        self, inputs: Inputs, first: int = 0, steps: int | None = None
    ) -> dict[str, Any]:
        """Functions of time by name; of steps from a state at both ends of each."""
        if inputs.series is None:
            return {}
        functions = inputs.series.detach().cpu().double().numpy()
        if steps is not None:
            begin = self.mode.history - 1 + first
            functions = functions[..., begin : begin + steps + 1]
        return {v.name: functions[:, k] for k, v in enumerate(self.config.series)}

    def _mesh(self, inputs: Inputs) -> dict[str, Any]:
        """Arrays of the mesh of one sample, where each has its own."""
        if not isinstance(self.solver, MeshPerSample):
            return {}
        parts = (inputs.points, inputs.cells, inputs.facets, inputs.facet_part)
        arrays = {}
        for name, part in zip(MESH_ARRAYS, parts, strict=True):
            if part is None:
                raise CaseError(
                    "the solver needs the mesh of each sample: give cells (cell, "
                    "corner), facets (facet, corner) and facet_part (facet,) as well"
                )
            arrays[name] = part.detach().cpu().numpy()
        arrays[POINTS] = arrays[POINTS].astype(np.float64)
        return arrays

    def _numbers(self, inputs: Inputs) -> dict[str, Any]:
        """Numbers (batch,) and short vectors (batch, component) by name."""
        if inputs.parameters is None:
            return {}
        variables = self.config.parameters
        numbers = inputs.parameters.detach().cpu().double().numpy()
        ends = np.cumsum([v.channels for v in variables])[:-1]
        parts = np.split(numbers, ends, axis=1)
        return {
            v.name: part if v.channels > 1 else part[:, 0]
            for v, part in zip(variables, parts, strict=True)
        }

    def as_stored(self, outputs: Tensor) -> dict[str, Any]:
        """Return outputs (batch, channel, *space) as the case stores them, float64."""
        if self.config.shape.packing is not None:
            return self._packed(outputs)
        return self._split(outputs, self.config.outputs)

    def _packed(self, outputs: Tensor) -> dict[str, Any]:
        """Return outputs of several kinds as the case stores them, float64."""
        parts = by_name(outputs.detach().cpu().double(), self.config)
        fields = {v.name: v for v in self.config.outputs if v.kind == "field"}
        stored = {name: part.numpy() for name, part in parts.items()}
        for name, v in fields.items():
            part = stored[name] if v.channels > 1 else stored[name][:, None]
            timed, layered = name in self._timed, name in self._layered
            stored[name] = self.mode.to_records(part, timed, layered)
        return stored

    def _initial(
        self, state: Tensor, inputs: Inputs, first: int, steps: int = 1
    ) -> dict[str, Any]:
        """Return what to advance from: the states that the case names as initial ones.

        Args:
            state: (batch, channel, *space).
            inputs: of the rollout.
            first: number of the state, 0 that of the last given frame.
            steps: to advance by.
        """
        names = {v.name for v in self.case.inputs}
        values = {
            f"initial_{name}": field
            for name, field in self._split(state, self.config.outputs).items()
            if f"initial_{name}" in names
        }
        if inputs.static is not None:
            values |= self._split(inputs.static, self.config.by_role["static"])
        return values | self._series(inputs, first, steps) | self._numbers(inputs)

    def _split(self, tensor: Tensor, variables: tuple[Channels, ...]) -> dict[str, Any]:
        """Split (batch, channel, *space) into float64 variables as they are stored."""
        if not variables:
            return {}
        parts = torch.split(
            tensor.detach().cpu().double(), [v.channels for v in variables], 1
        )
        return {
            v.name: self.mode.to_records(
                part.numpy(), v.name in self._timed, v.name in self._layered
            )
            for v, part in zip(variables, parts, strict=True)
        }

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
    if not config.shape.spectral:
        return case
    sizes = dict(zip(config.axes, config.shape.shape, strict=True))
    grid = tuple(sizes[axis] for axis in case.space)
    return case.model_copy(update={"resolution": grid})


def _in_order(case: Case, config: BundleConfig) -> Case:
    """Return the case with its parameters in the surrogate's order: JSON sorts them."""
    ordered = [v.name for v in config.parameters if v.name in case.parameters]
    rest = [name for name in case.parameters if name not in ordered]
    laws = {name: case.parameters[name] for name in (*ordered, *rest)}
    return case.model_copy(update={"parameters": laws})


def _with_records(case: Case, records: int) -> Case:
    parameters = {**case.solver.parameters, "records": records}
    solver = case.solver.model_copy(update={"parameters": parameters})
    return case.model_copy(update={"solver": solver})


def _sound(states: Tensor) -> NDArray[np.bool_]:
    """Tell which rollouts (batch, time, ...) stay finite and have not blown up."""
    size = states.flatten(2).square().mean(2).sqrt()
    largest = torch.where(size[:, 0] > 0, BLOWN_UP * size[:, 0], torch.inf)
    good = size.isfinite().all(1) & (size.amax(1) <= largest)
    mask: NDArray[np.bool_] = good.numpy()
    return mask
