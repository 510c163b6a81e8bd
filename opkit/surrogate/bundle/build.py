"""The model that a bundle's record describes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from opkit.errors import BundleError, OpkitInputError
from opkit.operators.interface import build_operator
from opkit.operators.shapes import DataShape, MeshShape
from opkit.surrogate.bundle.normalise import Normaliser, PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig


def build_model(
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
    data: DataShape | MeshShape
    if shape.inputs_on == "grid":
        data = DataShape(**shape.model_dump(exclude={"inputs_on"}))
    else:
        try:
            data = MeshShape.from_tensors(
                shape.in_channels, shape.out_channels, shape.inputs_on, mesh
            )
        except OpkitInputError as error:
            raise BundleError(f"bundle: {error}") from None
    with torch.random.fork_rng():  # weights come later: leave the caller's numbers
        operator = build_operator(config.operator, data, config.options)
    static = config.static_channels
    return PhysicalModel(
        operator,
        Normaliser(sum(v.channels for v in config.inputs)),
        Normaliser(shape.out_channels),
        config.recipe.history if config.recipe.mode == "autoregressive" else 0,
        Normaliser(static) if static else None,
        mesh,
    )
