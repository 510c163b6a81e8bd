"""The model that a bundle's record describes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from opkit.errors import BundleError, OpkitInputError
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
LARGEST = 1 << 20
"""A count in the options, such as that of layers, that any bundle may have."""
PARAMETERS = 10
"""Parameters that a model may register per tensor of its weights."""
SIZED = {
    torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full,
    torch.eye, torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones,
    torch.Tensor.new_full,
}  # fmt: skip
"""What makes a tensor of a size."""


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
    budget = _Budget(config.operator, TIMES * have + ROOM)
    if _largest(config.options) > max(have, LARGEST):
        raise budget.refusal()
    try:
        with budget, _at_most(PARAMETERS * (len(weights) + 1)):
            model = model_of_record(config, weights)
    except (MemoryError, OverflowError) as error:
        raise budget.refusal() from error
    refuse_misfits(config, model.state_dict(), weights)
    return model


class _Budget(TorchFunctionMode):
    """Refuse tensors that ask for more numbers than a budget allows.

    Args:
        operator: whose model is built.
        budget: numbers at most.
    """

    def __init__(self, operator: str, budget: int) -> None:
        super().__init__()
        self._operator, self._left = operator, budget

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at the size that is asked for, then do what is asked."""
        if func in SIZED:
            sizes = args[1:] if isinstance(next(iter(args), None), Tensor) else args
            self._left -= _numbers(sizes or (kwargs or {}).get("size", ()))
            if self._left < 0:
                raise self.refusal()
        return func(*args, **(kwargs or {}))

    def refusal(self) -> BundleError:
        """Return what to raise."""
        return BundleError(
            f"weights do not fit operator {self._operator}: the options of the bundle "
            "ask for far more numbers than it has; train again with this version"
        )


def _largest(options: Any) -> int:
    """The largest integer in nested options, but for seeds."""
    if isinstance(options, Mapping):
        return max((_largest(v) for k, v in options.items() if k != "seed"), default=0)
    if isinstance(options, list | tuple):
        return max(map(_largest, options), default=0)
    return options if isinstance(options, int) else 0


def _numbers(size: Any) -> int:
    """Product of the integers of a size, given as numbers or in one sequence."""
    first = next(iter(size), 1)
    sizes = first if isinstance(first, (tuple, list)) else size
    return math.prod(n for n in sizes if isinstance(n, int) and n > 0)


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


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Refuse a model that registers more parameters than there are weights."""
    budget = count

    def note(*_: Any) -> None:
        nonlocal budget
        budget -= 1
        if budget < 0:
            raise BundleError(
                "bundle: its options ask for many more parameters than it has weights"
            )

    handle = register_module_parameter_registration_hook(note)
    try:
        yield
    finally:
        handle.remove()


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
