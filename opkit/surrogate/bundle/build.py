"""The model that a bundle's record describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from opkit.errors import BundleError, OpkitInputError
from opkit.operators.interface import build_operator
from opkit.surrogate.bundle.normalise import (
    Normaliser,
    NumberNormaliser,
    PhysicalModel,
)
from opkit.surrogate.bundle.record import BundleConfig, Channels


def model_of_record(
    config: BundleConfig, weights: Mapping[str, Tensor] | None = None
) -> PhysicalModel:
    """Construct the untrained model that a bundle's record describes.

    Args:
        config: the record.
        weights: hold the arrays of the mesh under ``mesh.*``, for operators on meshes.

    Raises:
        BundleError: the mesh is missing or inconsistent.
    """
    shape = config.shape
    mesh = {
        name.removeprefix("mesh."): tensor
        for name, tensor in (weights or {}).items()
        if name.startswith("mesh.")
    }
    try:
        data = shape.build(mesh)
    except OpkitInputError as error:
        raise BundleError(f"bundle: {error}") from None
    with torch.random.fork_rng():  # weights come later: leave the caller's numbers
        operator = build_operator(config.operator, data, config.options)
    prefix = "operator."
    operator.allocate(
        {
            name.removeprefix(prefix): tuple(tensor.shape)
            for name, tensor in (weights or {}).items()
            if name.startswith(prefix)
        }
    )
    static = sum(v.channels for v in config.by_role["static"])
    return PhysicalModel(
        operator,
        Normaliser(sum(v.channels for v in config.inputs)),
        Normaliser(shape.out_channels),
        config.history,
        Normaliser(static) if static else None,
        mesh,
        number_normaliser(config.parameters),
    )


def number_normaliser(variables: Sequence[Channels]) -> NumberNormaliser | None:
    """Return a normaliser of the parameters, not yet fitted; None where none are."""
    logs = [v.scale == "log" for v in variables for _ in range(v.channels)]
    return NumberNormaliser(logs) if logs else None
