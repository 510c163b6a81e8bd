"""Numbers of a solver that may differ from sample to sample.

    @per_sample("viscosity")
    @solver_dataclass
    class Burgers: ...

makes the field ``viscosity`` of a solver a number that may stand in ``inputs``
(`opkit.solvers.interface.Parametric`): each sample is then solved by the solver with
that viscosity. Without it the field's own value holds for all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from opkit.base.arrays import Array
from opkit.base.explain import explain
from opkit.errors import OpkitError, OpkitInputError
from opkit.solvers.interface import Fields, Solution, with_parameters

S = TypeVar("S", bound=type)


def per_sample(*names: str) -> Callable[[S], S]:
    """Let fields of a solver class differ from sample to sample.

    Args:
        names: of fields that hold one number each.
    """

    def change(cls: S) -> S:
        kind: Any = cls
        kind.parameters = lambda self: dict.fromkeys(names, ())
        for method, joined in (("solve", _solution), ("residual", np.concatenate)):
            setattr(kind, method, _each(vars(kind)[method], names, joined))
        return cls

    return change


def numbers(inputs: Fields, name: str, shape: tuple[int, ...] = ()) -> Array:
    """Return the numbers (batch, *shape) of a name, float64.

    Raises:
        OpkitInputError: missing, of another shape, or not finite.
    """
    if name not in inputs:
        raise OpkitInputError(
            f"no {name} in the inputs, which have {', '.join(inputs) or 'nothing'}"
        )
    values = np.asarray(inputs[name], np.float64)
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape:
        expected = ", ".join(("batch", *map(str, shape)))
        raise OpkitInputError(f"{name} has shape {values.shape}: give ({expected})")
    bad = np.flatnonzero(~np.isfinite(values).all(tuple(range(1, values.ndim))))
    if len(bad):
        raise OpkitInputError(f"{name} of sample {bad[0]} is not finite")
    return values


def _each(
    method: Callable[..., Any],
    names: tuple[str, ...],
    joined: Callable[[list[Any]], Any],
) -> Callable[..., Any]:
    @wraps(method)
    def by_sample(self: Any, inputs: Fields, *more: Fields) -> Any:
        own = {name: numbers(inputs, name) for name in names if name in inputs}
        if not own:
            return method(self, inputs, *more)
        counts = {name: len(values) for name, values in {**inputs, **own}.items()}
        if len(set(counts.values())) > 1:
            lengths = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise OpkitInputError(
                f"inputs have different numbers of samples: {lengths}"
            )
        fields = [{k: v for k, v in f.items() if k not in own} for f in (inputs, *more)]
        results = []
        for i in range(next(iter(counts.values()))):
            here = {name: float(values[i]) for name, values in own.items()}
            one = [{k: v[i : i + 1] for k, v in f.items()} for f in fields]
            try:
                results.append(method(_changed(self, here), *one))
            except OpkitError as error:
                error.sample = i  # the solver saw that one alone
                raise
        if not results:
            return method(self, *fields)
        return joined(results)

    return by_sample


def _changed(solver: Any, values: Mapping[str, float]) -> Any:
    try:
        return with_parameters(solver, **values)
    except ValidationError as error:
        raise OpkitInputError(explain(error, type(solver))) from None


def _solution(parts: list[Solution]) -> Solution:
    return Solution(
        {k: np.concatenate([p.outputs[k] for p in parts]) for k in parts[0].outputs},
        np.concatenate([p.error for p in parts]),
        parts[0].measure,
        {k: np.concatenate([p.details[k] for p in parts]) for k in parts[0].details},
    )
