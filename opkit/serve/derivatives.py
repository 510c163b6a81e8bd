"""Derivatives of a surrogate between vectors, and of its solver by differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.serve.asked import Asked, Vectors
from opkit.serve.settings import Config
from opkit.serve.vectors import arrays_of

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
    x, output = _traced(asked, vectors, out, {"inWrt": to}, s)
    weights = _plain("sens", sens, len(output))
    (slope,) = torch.autograd.grad(output, x[to], weights)
    return _row(slope)


def apply_jacobian(
    asked: Asked, vectors: Vectors, out: int, to: int, vec: Sequence[float], s: Config
) -> list[float]:
    """Return ∂output/∂input vec; see `gradient`.

    J v is the derivative of uᵀ J v with respect to u, so that an operator needs
    reverse derivatives alone. Of level ``solver`` it is a central difference.
    """
    if s.level == "solver":
        count = _differenced(asked, vectors, out, to, s)
        direction = _plain("vec", vec, count).numpy()
        product = _difference(asked, vectors, out, to, direction, s)
        return _row(torch.from_numpy(product))
    x, output = _traced(asked, vectors, out, {"inWrt": to}, s)
    along = _plain("vec", vec, asked.inputs[to].size).reshape(x[to].shape)
    u = torch.zeros_like(output, requires_grad=True)
    (slope,) = torch.autograd.grad(output, x[to], u, create_graph=True)
    (back,) = torch.autograd.grad((slope * along).sum(), u)
    return _row(back)


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
    x, output = _traced(asked, vectors, out, {"inWrt1": first, "inWrt2": second}, s)
    weights = _plain("sens", sens, len(output))
    along = _plain("vec", vec, asked.inputs[second].size).reshape(x[second].shape)
    (slope,) = torch.autograd.grad(output, x[second], weights, create_graph=True)
    (product,) = torch.autograd.grad((slope * along).sum(), x[first])
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


def _traced(
    asked: Asked, vectors: Vectors, out: int, to: dict[str, int], s: Config
) -> tuple[list[Tensor], Tensor]:
    """Return the inputs, and one output as a flat tensor that depends on them."""
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
    arrays = arrays_of(asked.inputs, vectors)
    x = [torch.from_numpy(arrays[part.name]) for part in asked.inputs]
    for index in to.values():
        x[index].requires_grad_()
    given = {part.name: t for part, t in zip(asked.inputs, x, strict=True)}
    steps = asked.steps(s)
    if steps is None:
        answer = asked.surrogate(given)
    else:
        answer = asked.surrogate.rollout(given, steps)
    flat = answer[outputs[out].name].reshape(-1)
    return x, flat if s.nodes is None else flat[torch.tensor(s.nodes)]


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
