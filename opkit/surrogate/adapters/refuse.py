"""Refuse tensors that a surrogate cannot take, in one line."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig


def check_inputs(
    config: BundleConfig, model: PhysicalModel, inputs: Tensor, beside: Tensor | None
) -> None:
    """Check axes, channels, frames, values and grid.

    Args:
        config: record of the surrogate.
        model: of the surrogate.
        inputs: (batch, [history,] channel, *space).
        beside: static fields, or data on a boundary curve.

    Raises:
        OpkitInputError: they do not fit, or are not finite.
    """
    shape = config.shape
    lead = 3 if model.history else 2
    if inputs.ndim != lead + len(shape.shape):
        raise OpkitInputError(
            f"inputs have {inputs.ndim} axes, expected {lead + len(shape.shape)}: "
            f"batch, {'history, ' if lead == 3 else ''}channel, "
            + ", ".join(config.axes)
        )
    channels = len(model.inputs.mean)
    if inputs.shape[lead - 1] != channels:
        raise OpkitInputError(
            f"inputs have {inputs.shape[lead - 1]} channels, expected {channels}: "
            + ", ".join(v.name for v in config.inputs)
        )
    if model.history and inputs.shape[1] != model.history:
        raise OpkitInputError(
            f"inputs have {inputs.shape[1]} frames, expected {model.history}"
        )
    channels = sum(v.channels for v in config.boundary)
    channels += config.static_channels
    given = 0 if beside is None else beside.shape[1]
    if given != channels:
        raise OpkitInputError(
            f"this surrogate takes {channels} channels of static fields or of "
            f"boundary data beside its inputs, not {given}"
        )
    if not _finite(inputs) or (beside is not None and not _finite(beside)):
        raise OpkitInputError("inputs hold NaN or infinity: remove those samples")
    space = tuple(inputs.shape[lead:])
    if shape.inputs_on != "grid":
        _check_mesh(config, model, space)
    elif space != shape.shape:
        _warn_resolution(config, space)


def _finite(values: Tensor) -> bool:
    try:
        return bool(torch.isfinite(values).all())
    except RuntimeError:  # under vmap nobody can look at the values
        return True


def _check_mesh(
    config: BundleConfig, model: PhysicalModel, space: tuple[int, ...]
) -> None:
    on = config.shape.inputs_on
    arrays = dict(model.mesh.named_buffers())
    expected = len(arrays["points" if on == "node" else "cells"])
    if space != (expected,):
        raise OpkitInputError(
            f"inputs have {space[0]} values, the mesh this surrogate was trained "
            f"on has {expected} of its {on}s: transfer them to that mesh first"
        )


def _warn_resolution(config: BundleConfig, space: tuple[int, ...]) -> None:
    measured = [
        f"relative L2 was {row.relative_l2:.3g} there"
        for row in config.scores
        if row.predictor == "surrogate" and row.resolution == space
    ]
    warnings.warn(
        f"trained at {config.shape.shape}, used at {space}: "
        + (measured[0] if measured else "its error there was never measured"),
        stacklevel=5,
    )
