"""A surrogate between vectors: answers of three levels, and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

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

    def output_sizes(self, settings: Config) -> list[int]:
        """Return the length of each output vector."""
        settings.agree()
        parts = self.outputs(settings)
        nodes = settings.nodes
        sizes = [part.size if nodes is None else len(nodes) for part in parts]
        return sizes + [self.steps(settings) or 1] * settings.bound

    def worker(self, settings: Config) -> Worker:
        """Say whether the solver may be needed, which may take long."""
        quick = settings.level == "surrogate" and not settings.bound
        return "quick" if quick else "solver"

    def evaluate(self, vectors: Vectors, settings: Config) -> list[list[float]]:
        """Return output vectors of input vectors."""
        settings.agree()
        parts = self.outputs(settings)
        arrays = arrays_of(self.inputs, vectors)
        steps = self.steps(settings)
        values, bound = self._answer(arrays, steps, settings)
        if bound is not None and not np.isfinite(bound).all():
            raise OpkitInputError(
                f"the error bound is infinite: {settings.coverage:g} needs more "
                "calibration samples than there are, or a reading is infinite; give a "
                "smaller coverage"
            )
        rows = vectors_of(parts, values, settings.nodes)
        return rows if bound is None else [*rows, bound.reshape(-1).tolist()]

    def _answer(
        self, arrays: dict[str, Array], steps: int | None, settings: Config
    ) -> tuple[Any, Array | None]:
        surrogate = self.surrogate
        if settings.level == "solver":
            return surrogate.solve(arrays, steps=steps, exact=True).outputs, None
        if settings.level == "checked":
            tolerance, coverage = settings.tolerance, settings.coverage
            solved = surrogate.solve(arrays, tolerance, steps, coverage=coverage)
            return solved.outputs, None
        if settings.bound:
            checked = self.check(arrays, steps, settings.coverage)
            return checked.prediction, np.asarray(checked.error_bound, np.float64)
        if steps is None:
            return surrogate(arrays), None
        return surrogate.rollout(arrays, steps), None

    def check(
        self, arrays: dict[str, Array], steps: int | None, coverage: float
    ) -> Any:
        """Return a `Checked` of arrays by name."""
        if steps is None:
            return self.surrogate(arrays, check=True, coverage=coverage)
        return self.surrogate.rollout(arrays, steps, check=True, coverage=coverage)

    def gradient(
        self, vectors: Vectors, out: int, to: int, sens: Sequence[float], s: Config
    ) -> list[float]:
        """Return sensᵀ ∂output/∂input.

        Args:
            vectors: one for each input.
            out: number of the output.
            to: number of the input.
            sens: a number for each value of the output.
            s: settings.

        Raises:
            OpkitInputError: numbers or vectors that do not fit; a level without
                derivatives.
        """
        x, output = self._traced(vectors, out, {"inWrt": to}, s)
        weights = _plain("sens", sens, len(output))
        (slope,) = torch.autograd.grad(output, x[to], weights)
        return _row(slope)

    def apply_jacobian(
        self, vectors: Vectors, out: int, to: int, vec: Sequence[float], s: Config
    ) -> list[float]:
        """Return ∂output/∂input vec; see `gradient`.

        J v is the derivative of uᵀ J v with respect to u, so that an operator needs
        reverse derivatives alone.
        """
        x, output = self._traced(vectors, out, {"inWrt": to}, s)
        along = _plain("vec", vec, self.inputs[to].size).reshape(x[to].shape)
        u = torch.zeros_like(output, requires_grad=True)
        (slope,) = torch.autograd.grad(output, x[to], u, create_graph=True)
        (product,) = torch.autograd.grad((slope * along).sum(), u)
        return _row(product)

    def apply_hessian(
        self,
        vectors: Vectors,
        out: int,
        to: tuple[int, int],
        sens: Sequence[float],
        vec: Sequence[float],
        s: Config,
    ) -> list[float]:
        """Return ∂(sensᵀ ∂output/∂input₁)/∂input₂ vec; see `gradient`.

        Args:
            vectors: one for each input.
            out: number of the output.
            to: numbers of both inputs.
            sens: a number for each value of the output.
            vec: a number for each value of the second input.
            s: settings.

        Raises:
            OpkitInputError: as `gradient`; an operator without second derivatives.
        """
        if not self.knows_hessian:
            raise OpkitInputError(
                "this operator has no second derivatives: its activations have kinks, "
                "or its nodes move; ask for Gradient"
            )
        first, second = to
        x, output = self._traced(vectors, out, {"inWrt1": first, "inWrt2": second}, s)
        weights = _plain("sens", sens, len(output))
        along = _plain("vec", vec, self.inputs[second].size).reshape(x[second].shape)
        (slope,) = torch.autograd.grad(output, x[second], weights, create_graph=True)
        (product,) = torch.autograd.grad((slope * along).sum(), x[first])
        return _row(product)

    @cached_property
    def knows_hessian(self) -> bool:
        """Whether second derivatives of the operator mean something."""
        model = self.surrogate.model
        kinks = any(isinstance(layer, nn.ReLU) for layer in model.modules())
        return not kinks and not self.surrogate.shape.point_axes

    def _traced(
        self, vectors: Vectors, out: int, to: dict[str, int], s: Config
    ) -> tuple[list[Tensor], Tensor]:
        """Return the inputs, and one output as a flat tensor that depends on them."""
        s.agree()
        if s.level != "surrogate":
            raise OpkitInputError(
                f"level {s.level} has no derivatives: ask with level surrogate"
            )
        outputs = self.outputs(s)
        _refuse("outWrt", out, len(outputs))
        for what, index in to.items():
            _refuse(what, index, len(self.inputs))
        arrays = arrays_of(self.inputs, vectors)
        x = [torch.from_numpy(arrays[part.name]) for part in self.inputs]
        for index in to.values():
            x[index].requires_grad_()
        given = {part.name: t for part, t in zip(self.inputs, x, strict=True)}
        steps = self.steps(s)
        if steps is None:
            answer = self.surrogate(given)
        else:
            answer = self.surrogate.rollout(given, steps)
        flat = answer[outputs[out].name].reshape(-1)
        return x, flat if s.nodes is None else flat[torch.tensor(s.nodes)]


def _refuse(what: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise OpkitInputError(f"{what} is {index}: give 0 to {count - 1}")


def _plain(what: str, values: Sequence[float], count: int) -> Tensor:
    """Return a vector of so many finite numbers."""
    if len(values) != count:
        raise OpkitInputError(f"{what} has {len(values)} values: give {count}")
    vector = torch.tensor(values, dtype=torch.float64)
    if not bool(vector.isfinite().all()):
        raise OpkitInputError(f"{what} holds NaN or infinity")
    return vector


def _row(values: Tensor) -> list[float]:
    row: list[float] = values.detach().double().reshape(-1).tolist()
    return row
