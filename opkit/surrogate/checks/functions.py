"""Quantities of interest written in Python, with bounds of their own.

A function of the predicted fields and the inputs of one sample gives a number. Its
error |q(û) - q(u)| is measured on held-out samples, and bounded as that of the
quantities of a case is; without such samples the bound is infinite, and is said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels
from opkit.surrogate.checks.calibration import error_bound

Function = Callable[[Mapping[str, Array], Mapping[str, Array]], float]
"""Maps outputs and inputs of one sample, float64 arrays by name, to a number."""


@dataclass(frozen=True)
class QuantityFunction:
    """A function and what is known of its errors.

    Args:
        name: of the quantity.
        function: gives it; called with the outputs ([component,] *space) of one sample,
            of one frame in rollouts, and its inputs. Numbers per sample have no axes or
            one of components, states to start from one of history; ``points`` and
            ``weights`` of nodes that differ from sample to sample are among them.
        errors: (frame, n) |q(û) - q(u)| / σ of calibration samples; None where there
            are none.
        reason: why there are none.
    """

    name: str
    function: Function
    errors: Array | None = None
    reason: str = ""

    def of(self, config: BundleConfig, inputs: Inputs, outputs: Tensor) -> Array:
        """Return the quantity (batch,), or (batch, step) for rollouts.

        Args:
            config: record of the surrogate.
            inputs: of the batch, physical units.
            outputs: (batch, [steps,] channel, *space), physical units.

        Raises:
            OpkitInputError: the function raises, or gives no finite number.
        """
        rows = []
        for frames in _apart(config, inputs, outputs):
            rows.append([self._number(fields, sample) for fields, sample in frames])
        count = len(rows[0]) if rows else 1
        values = np.array(rows, np.float64).reshape(len(outputs), count)
        return values if config.history else values[:, 0]

    def bound(self, scale: Array, coverage: float, frames: int) -> Array:
        """Return the bound of its error (batch, frame); infinite without errors."""
        if self.errors is None:
            return np.full((len(scale), frames), np.inf)
        return error_bound(self.errors, scale, coverage, frames)

    def _number(
        self, outputs: Mapping[str, Array], inputs: Mapping[str, Array]
    ) -> float:
        try:
            value = self.function(outputs, inputs)
            number = float(value)
        except Exception as error:
            raise OpkitInputError(
                f"quantity {self.name}: the function raised {type(error).__name__}: "
                f"{' '.join(str(error).split())}; it takes outputs "
                f"({', '.join(outputs)}) and inputs ({', '.join(inputs)}) by name and "
                "gives a number"
            ) from error
        if not np.isfinite(number):
            raise OpkitInputError(
                f"quantity {self.name}: the function gives {number}, not a number"
            )
        return number


def named(function: Function) -> str:
    """Return the name of a function; ``quantity`` of a lambda, the class of others."""
    plain = isinstance(function, FunctionType)
    name = function.__name__ if plain else type(function).__name__
    return name if name.isidentifier() else "quantity"


def _apart(
    config: BundleConfig, inputs: Inputs, outputs: Tensor
) -> Iterator[list[tuple[dict[str, Array], dict[str, Array]]]]:
    """Outputs and inputs of each frame of each sample, by name.

    Functions of time are those of the step that makes the frame.
    """
    values = _numpy(outputs)
    roles = {
        role: _numpy(part) for role, part in inputs.by_role.items() if role != "sample"
    }
    lead = 1 if config.history else 0
    for i in range(len(values)):
        sample: dict[str, Array] = {}
        for role, variables in config.by_role.items():
            if role in roles and variables:
                axis = lead if role == "fields" else 0
                sample |= _split(roles[role][i], variables, axis)
        sample |= {r: roles[r][i] for r in ("points", "weights") if r in roles}
        frames = values[i] if config.history else values[i : i + 1]
        pairs = []
        for k, frame in enumerate(frames):
            own = sample
            if config.history:
                step = slice(k, k + config.length())
                own = sample | {v.name: sample[v.name][step] for v in config.series}
            pairs.append((_outputs(frame, config), own))
        yield pairs


def _outputs(frame: Array, config: BundleConfig) -> dict[str, Array]:
    """Outputs of one sample by name."""
    if config.shape.packing is None:
        return _split(frame, config.outputs, 0)
    parts = by_name(torch.from_numpy(frame)[None], config)
    return {name: part[0].numpy() for name, part in parts.items()}


def _split(
    values: Array, variables: tuple[Channels, ...], axis: int
) -> dict[str, Array]:
    """Cut channels by variable; one channel has no axis."""
    fields, start = {}, 0
    for v in variables:
        part = np.take(values, range(start, start + v.channels), axis)
        fields[v.name] = part if v.channels > 1 else part.squeeze(axis)
        start += v.channels
    return fields


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
