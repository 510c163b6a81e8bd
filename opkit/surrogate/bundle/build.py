"""The model that a bundle's record describes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from opkit.errors import BundleError, OpkitInputError
from opkit.operators import budget
from opkit.operators.interface import build_operator
from opkit.surrogate.bundle.normalise import (
    Normaliser,
    NumberNormaliser,
    PackedNormaliser,
    PhysicalModel,
)
from opkit.surrogate.bundle.record import BundleConfig, Channels, Shape

MAX_POINTS = 1 << 30
"""Points of a grid that a record may claim."""
ROOM = 1 << 26
"""Numbers that a model may ask for beside its weights: grids, masks, lifted fields."""
TIMES = 4
"""Times as many numbers as the weights have that a model may ask for while it is built.
"""
PARAMETERS = 10
"""Parameters that a model may register per tensor of its weights."""


def model_that_fits(
    config: BundleConfig, weights: Mapping[str, Tensor]
) -> PhysicalModel:
    """Construct the model of a record, without more memory than its weights warrant.

    torch's device ``meta`` would do without any, but loads 900 modules (2 s) with it.

    Args:
        config: the record.
        weights: tensors by name, without those of the calibration.

    Raises:
        BundleError: names, shapes or types of the weights are not the model's.
    """
    if math.prod(config.shape.shape) > MAX_POINTS:
        raise BundleError(f"bundle: a grid of {config.shape.shape} points is refused")
    have = sum(weight.numel() for weight in weights.values())
    if budget.largest(config.options) > max(have, budget.LARGEST):
        raise _too_much(config.operator)
    try:
        with budget.at_most(TIMES * have + ROOM, PARAMETERS * (len(weights) + 1)):
            model = model_of_record(config, weights)
    except budget.TooMuch as error:
        raise _too_much(config.operator) from error
    refuse_misfits(config, model.state_dict(), weights)
    return model


def _too_much(operator: str) -> BundleError:
    return BundleError(
        f"weights do not fit operator {operator}: the options of the bundle ask for "
        "far more numbers or layers than it has; train again with this version"
    )


def refuse_misfits(
    config: BundleConfig, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    """Refuse weights that are not those of the model.

    Raises:
        BundleError: the first three names that differ.
    """
    wrong = sorted(
        name
        for name in expected.keys() | weights.keys()
        if name not in expected
        or name not in weights
        or expected[name].shape != weights[name].shape
        or expected[name].dtype != weights[name].dtype
    )
    if wrong:
        raise BundleError(
            f"weights do not fit operator {config.operator}: {len(wrong)} of "
            f"{len(expected)} tensors missing, unknown or of another shape "
            f"({', '.join(wrong[:3])}); train again with this version"
        )


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
        output_normaliser(shape),
        config.history,
        Normaliser(static) if static else None,
        mesh,
        number_normaliser(config.parameters),
        Normaliser(shape.series) if shape.series else None,
        config.recipe.keep_means,
        config.recipe.keep_energy,
    )


def output_normaliser(shape: Shape) -> Normaliser:
    """Return a normaliser of the outputs, not yet fitted."""
    packing = shape.packing
    return (
        Normaliser(shape.out_channels) if packing is None else PackedNormaliser(packing)
    )


def number_normaliser(variables: Sequence[Channels]) -> NumberNormaliser | None:
    """Return a normaliser of the parameters, not yet fitted; None where none are."""
    logs = [v.scale == "log" for v in variables for _ in range(v.channels)]
    return NumberNormaliser(logs) if logs else None
