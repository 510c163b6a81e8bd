"""How much larger a small error of the input is in the answer of a surrogate.

    σ(x) = max over dx of |J dx| / |dx|,  J = ∂û/∂x,     κ(x) = σ |x| / |û|

σ is the largest singular value of the Jacobian at x, by power iteration: products with
J and its transpose by backward passes, no matrix. κ is the relative one: an error of
1 % in x, in the worst direction, is one of κ % in û. It holds for small errors at this
input; nothing is promised for large ones.

`certificate` is a bound of σ at every input, and so of errors of any size, for
operators that are built with one. It is a product over layers: far above most σ(x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.linearisation import Linearisation
from opkit.errors import OpkitInputError
from opkit.operators.interface import KnowsGain
from opkit.surrogate.bundle.normalise import Normaliser
from opkit.surrogate.surrogate import Surrogate

Function = Callable[[Tensor], Tensor]
STEPS = 20
"""Of the power iteration."""


@dataclass(frozen=True)
class Sensitivity:
    """What `sensitivity` says of a batch.

    Args:
        gain: σ (batch,), in units of the output per unit of the input.
        relative: κ (batch,).
        direction: the worst dx of norm 1 (batch, ...).
        settled: relative change of σ in the last step (batch,); σ is too small by
            about as much.
    """

    gain: Array
    relative: Array
    direction: Array
    settled: Array


def sensitivity(
    function: Function, x: Tensor | Array, steps: int = STEPS, seed: int = 0
) -> Sensitivity:
    """Measure the sensitivity of a surrogate, or any function, at some inputs.

    Args:
        function: maps a batch of inputs to a batch of outputs, each sample for itself;
            a surrogate of one input and one output is such a function.
        x: inputs (batch, ...).
        steps: of power iteration; each costs about three evaluations.
        seed: of the directions that it begins with.

    Raises:
        OpkitInputError: no step, an input that is not finite, or no batch.
    """
    at = torch.as_tensor(x).detach()
    if steps < 2:
        raise OpkitInputError(f"steps {steps}: give 2 or more")
    if at.ndim < 2 or not len(at):
        raise OpkitInputError(f"inputs of shape {tuple(at.shape)}: give (batch, ...)")
    if not at.isfinite().all():
        raise OpkitInputError("the input is not finite: remove such samples")
    generator = torch.Generator().manual_seed(seed)
    direction = _unit(torch.randn(at.shape, generator=generator).to(at))
    lines = Linearisation(lambda at: (function(at),), [at])
    (values,) = lines.outputs
    gain = before = torch.zeros(len(at))
    for _ in range(steps):
        (pushed,) = lines.jvp([direction])
        before, gain = gain, _norms(pushed)
        (back,) = lines.vjp([pushed])
        direction = _unit(back)
    change = (gain - before).abs() / gain.clamp(min=1e-30)
    relative = gain * _norms(at) / _norms(values.detach()).clamp(min=1e-30)
    parts = (gain, relative, direction, change)
    arrays = [np.asarray(part.detach().cpu(), np.float64) for part in parts]
    return Sensitivity(*arrays)


def certificate(surrogate: Surrogate) -> float:
    """Return a bound of |û(x) - û(x')| / |x - x'| for any two input fields.

    Euclidean norms in physical units, on the grid of training, at the same numbers per
    sample. Known where the layers of the operator have Lipschitz constants (Wang,
    Manchester, ICML 2023), rounding aside.

    Args:
        surrogate: of fields, in one step.

    Raises:
        OpkitInputError: nothing bounds it.
    """
    model = surrogate.model
    gain = model.operator.gain() if isinstance(model.operator, KnowsGain) else math.inf
    plain = not model.history and type(model.outputs) is Normaliser
    if not (plain and len(model.inputs.std) and math.isfinite(gain)):
        raise OpkitInputError(
            "no Lipschitz constant of this surrogate is known: train one from fields "
            "to fields with --operator pod-deeponet --set model.branch=sandwich"
        )
    return gain * float(model.outputs.std.max() / model.inputs.std.min())


def _norms(batch: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(batch.flatten(1), dim=1)
    return norms


def _unit(batch: Tensor) -> Tensor:
    size = _norms(batch).clamp(min=1e-30)
    return batch / size.view(-1, *(1,) * (batch.ndim - 1))
