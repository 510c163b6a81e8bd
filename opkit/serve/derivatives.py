"""Derivatives of a surrogate between vectors, and of its solver by differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.linearisation import Linearisation
from opkit.errors import OpkitInputError
from opkit.serve.asked import Asked, Vectors
from opkit.serve.settings import Config
from opkit.serve.vectors import arrays_of
from opkit.surrogate.adapters.refuse import POINTS

MOST_DIFFERENCES = 64
"""Values of an input whose gradient of the solver is computed, by two solves each."""
STEP = 1e-3
"""Of central differences, relative to the size of the input."""


def gradient(
    asked: Asked, vectors: Vectors, out: int, to: int, sens: Sequence[float], s: Config
) -> list[float]:
    """Return sensᵀ ∂output/∂input.

    Of level ``solver`` by central differences, two solves for each value of the
    input.

    Args:
        asked: the surrogate.
        vectors: one for each input.
        out: number of the output.
        to: number of the input.
        sens: a number for each value of the output.
        s: settings.

    Raises:
        OpkitInputError: numbers or vectors that do not fit; a level without
            derivatives, or an input of too many values for differences.
    """
    if s.level == "solver":
        count = _differenced(asked, vectors, out, to, s)
        each = _plain("sens", sens, _output_size(asked, out, s)).numpy()
        if count > MOST_DIFFERENCES:
            raise OpkitInputError(
                f"the solver's gradient would take {2 * count} solves: ask for "
                f"ApplyJacobian, or for an input of at most {MOST_DIFFERENCES} values"
            )
        slopes = (
            _difference(asked, vectors, out, to, unit, s) for unit in np.eye(count)
        )
        row = np.array([each @ slope for slope in slopes], np.float64)
        return _row(torch.from_numpy(row))
    lines = _linearisation(asked, vectors, out, {"inWrt": to}, s)
    weights = _plain("sens", sens, lines.outputs[0].numel())
    return _row(lines.vjp([weights])[0])


def apply_jacobian(
    asked: Asked, vectors: Vectors, out: int, to: int, vec: Sequence[float], s: Config
) -> list[float]:
    """Return ∂output/∂input vec; see `gradient`.

    Of level ``solver`` it is a central difference.
    """
    if s.level == "solver":
        count = _differenced(asked, vectors, out, to, s)
        direction = _plain("vec", vec, count).numpy()
        product = _difference(asked, vectors, out, to, direction, s)
        return _row(torch.from_numpy(product))
    lines = _linearisation(asked, vectors, out, {"inWrt": to}, s)
    along = _plain("vec", vec, asked.inputs[to].size).reshape(lines.x[0].shape)
    return _row(lines.jvp([along])[0])


def apply_hessian(
    asked: Asked,
    vectors: Vectors,
    out: int,
    to: tuple[int, int],
    sens: Sequence[float],
    vec: Sequence[float],
    s: Config,
) -> list[float]:
    """Return ∂(sensᵀ ∂output/∂input₁)/∂input₂ vec; see `gradient`.

    Args:
        asked: the surrogate.
        vectors: one for each input.
        out: number of the output.
        to: numbers of both inputs.
        sens: a number for each value of the output.
        vec: a number for each value of the second input.
        s: settings.

    Raises:
        OpkitInputError: as `gradient`; an operator without second derivatives.
    """
    if not asked.knows_hessian:
        raise OpkitInputError(
            "this operator has no second derivatives: its activations have kinks, "
            "or its nodes move; ask for Gradient"
        )
    first, second = to
    wrt = {"inWrt1": first, "inWrt2": second}
    lines = _linearisation(asked, vectors, out, wrt, s, second=True)
    weights = _plain("sens", sens, lines.outputs[0].numel())
    along = _plain("vec", vec, asked.inputs[second].size).reshape(lines.x[-1].shape)
    slope = lines.vjp([weights])[-1]
    (product,) = torch.autograd.grad((slope * along).sum(), lines.x[0])
    return _row(product)


def _differenced(asked: Asked, vectors: Vectors, out: int, to: int, s: Config) -> int:
    """Refuse what has no differences; return the number of the input's values."""
    s.agree()
    _refuse_quantities(s)
    _refuse("outWrt", out, len(asked.outputs(s)))
    _refuse("inWrt", to, len(asked.inputs))
    arrays_of(asked.inputs, vectors)
    return asked.inputs[to].size


def _output_size(asked: Asked, out: int, s: Config) -> int:
    return asked.outputs(s)[out].size if s.nodes is None else len(s.nodes)


def _difference(
    asked: Asked, vectors: Vectors, out: int, to: int, along: Array, s: Config
) -> Array:
    """Return (F(x + h v) - F(x - h v)) / 2h of the solver F, h |v| = step |x|."""
    x = np.asarray(vectors[to], np.float64)
    length = float(np.linalg.norm(along))
    if not length:
        return np.zeros(_output_size(asked, out, s))
    h = (s.step or STEP) * (float(np.linalg.norm(x)) or 1.0) / length
    name = asked.outputs(s)[out].name
    one = s.model_copy(update={"outputs": [name], "step": None})
    ends = []
    for sign in (1, -1):
        moved = [*vectors]
        moved[to] = (x + sign * h * along).tolist()
        ends.append(np.array(asked.evaluate(moved, one)[0]))
    slope: Array = (ends[0] - ends[1]) / (2 * h)
    return slope


def _linearisation(
    asked: Asked,
    vectors: Vectors,
    out: int,
    to: dict[str, int],
    s: Config,
    second: bool = False,
) -> Linearisation:
    """Linearise one output, a flat tensor, in one input or in two that differ."""
    s.agree()
    _refuse_quantities(s)
    if s.level != "surrogate":
        raise OpkitInputError(
            f"level {s.level} has no such derivatives: ask with level surrogate"
        )
    if s.step is not None:
        raise OpkitInputError("step belongs to derivatives of level solver")
    outputs = asked.outputs(s)
    _refuse("outWrt", out, len(outputs))
    for what, index in to.items():
        _refuse(what, index, len(asked.inputs))
        if asked.inputs[index].role == POINTS:
            raise OpkitInputError(
                f"{what} is {index}, the points: their weights follow from them "
                "without derivatives; ask for those of another input"
            )
    arrays = arrays_of(asked.inputs, vectors)
    given = {part.name: torch.from_numpy(arrays[part.name]) for part in asked.inputs}
    steps = asked.steps(s)

    def output(*x: Tensor) -> tuple[Tensor, ...]:
        inputs = given | dict(zip(names, x, strict=True))
        if steps is None:
            answer = asked.surrogate(inputs)
        else:
            answer = asked.surrogate.rollout(inputs, steps)
        flat = answer[outputs[out].name].reshape(-1)
        return (flat if s.nodes is None else flat[torch.tensor(s.nodes)],)

    names = list(dict.fromkeys(asked.inputs[index].name for index in to.values()))
    return Linearisation(output, [given[name] for name in names], second)


def _refuse_quantities(s: Config) -> None:
    if s.quantities:
        raise OpkitInputError(
            "quantities have no derivatives here: leave them away, and give their "
            "weights as sens"
        )


def _refuse(what: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise OpkitInputError(f"{what} is {index}: give 0 to {count - 1}")


def _plain(what: str, values: Sequence[float], count: int) -> Tensor:
    """Return a vector of so many numbers that are finite as float32 too."""
    if len(values) != count:
        raise OpkitInputError(f"{what} has {len(values)} values: give {count}")
    vector = torch.tensor(values, dtype=torch.float64)
    if not bool(vector.float().isfinite().all()):
        raise OpkitInputError(
            f"{what} holds NaN or infinity, or a value beyond float32"
        )
    return vector


def _row(values: Tensor) -> list[float]:
    """Return a derivative as numbers.

    Raises:
        OpkitInputError: one is not finite.
    """
    row: list[float] = values.detach().double().reshape(-1).tolist()
    wrong = [place for place, value in enumerate(row) if not math.isfinite(value)]
    if wrong:
        raise OpkitInputError(
            f"the derivative holds NaN or infinity, first at value {wrong[0]}: the "
            "operator overflows for this input, or sens and vec are too large"
        )
    return row
