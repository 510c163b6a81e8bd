"""Surrogates: a bundle as a function from arrays to arrays, in physical units."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit import arrays, bundle
from opkit.bundle import BundleConfig
from opkit.errors import BundleError, OpkitInputError
from opkit.normalise import Normaliser, PhysicalModel
from opkit.operators.interface import DataShape, build_operator
from opkit.operators.mesh_shape import MeshShape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_POINTS = {"cpu": 2**16, "cuda": 2**22}
"""Points (samples times grid) that go through the operator at once: what the caches of
a CPU hold (measured: four times faster than 2**20), what keeps a GPU busy."""


class Surrogate:
    """A trained operator with its normalisers and its record.

    Callable on numpy arrays, torch tensors, xarray objects, and dicts of arrays by
    variable name; gives back the same kind, in physical units. Gradients flow where a
    torch input requires them.

    Args:
        model: the operator between its normalisers.
        config: the bundle's record.
    """

    def __init__(self, model: PhysicalModel, config: BundleConfig) -> None:
        self.model = model.eval()
        self.config = config

    def __repr__(self) -> str:
        """Name the operator, the case, the grid and the test error."""
        case = self.config.case.get("name", "imported data")
        grid = "x".join(str(n) for n in self.config.shape.shape)
        scores = [
            f", relative L2 {row.relative_l2:.4f} on {row.split}"
            for row in self.config.scores
            if row.predictor == "surrogate"
            and row.resolution == self.config.shape.shape
        ]
        return (
            f"Surrogate({self.config.operator} for {case} at {grid}{''.join(scores)})"
        )

    @property
    def device(self) -> torch.device:
        """Device the weights are on."""
        return self.model.inputs.mean.device

    def to(self, device: str | torch.device) -> Surrogate:
        """Move the weights; returns this surrogate."""
        self.model.to(device)
        return self

    def __call__(self, inputs: Any) -> Any:
        """Predict the outputs for one sample or a batch.

        Args:
            inputs: one of

                * an array (*space) or (batch, *space) where the case has one input
                  channel, (channel, *space) or (batch, channel, *space) otherwise; in
                  autoregressive mode with a history axis before the channels;
                * a dict of such arrays by variable name, without a channel axis where
                  the variable has one channel;
                * an ``xarray.DataArray`` or ``Dataset`` with the space axes by name.

        Returns:
            The same kind, with the outputs' variables.

        Raises:
            OpkitInputError: wrong variables, axes, extent, or not finite.
        """
        return arrays.apply(self._once, inputs, self.config)

    def _once(self, inputs: Tensor, boundary: Tensor | None = None) -> Tensor:
        return self.predict(inputs, beside=boundary)

    def predict(
        self, inputs: Tensor, steps: int = 1, beside: Tensor | None = None
    ) -> Tensor:
        """Map a batch (batch, [history,] channel, *space) of any float type.

        Args:
            inputs: physical units.
            steps: frames to roll out, in autoregressive mode.
            beside: (batch, channel, *space) fields given at every step, in
                autoregressive mode; (batch, channel, boundary) data on a boundary
                curve, if trained so.

        Returns:
            (batch, [steps,] channel, *space) on the inputs' device, in their type.
        """
        self._check(inputs, beside)
        x = inputs.to(self.device, self.model.inputs.mean.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and inputs.requires_grad):
            size = max(
                MAX_POINTS.get(self.device.type, 2**22)
                // max(int(np.prod(x.shape[2:])), 1),
                1,
            )
            fixed: Sequence[Tensor | None] = [None] * -(-len(x) // size)
            if beside is not None:
                fixed = torch.split(beside.to(x), size)
            pairs = zip(torch.split(x, size), fixed, strict=True)
            parts = [self.model(part, always, steps) for part, always in pairs]
            return torch.cat(parts).to(inputs.device, inputs.dtype)

    def rollout(self, inputs: Any, steps: int, static: Any = None) -> Any:
        """Predict ``steps`` frames, each from the frames before it.

        Args:
            inputs: numpy or torch (batch, history, channel, *space), physical units.
            steps: number of frames.
            static: (batch, channel, *space) fields that do not change, if trained so.

        Returns:
            (batch, steps, channel, *space), the same kind.

        Raises:
            OpkitInputError: the surrogate is not autoregressive.
        """
        if not self.model.history:
            raise OpkitInputError(
                "this surrogate maps inputs to outputs at once: train with "
                "--set mode=autoregressive for rollouts"
            )
        fixed = None if static is None else torch.as_tensor(static)
        result = self.predict(torch.as_tensor(inputs), steps, fixed)
        return result if isinstance(inputs, Tensor) else result.numpy()

    def in_range(self, inputs: Tensor, margin: float = 0.05) -> NDArray[np.bool_]:
        """Say for each sample whether all values lie in the training split's range.

        Args:
            inputs: (batch, [history,] channel, *space), physical units.
            margin: tolerance as a fraction of each channel's range.
        """
        x = inputs.flatten(0, 1) if self.model.history else inputs
        low, high = (
            v.to(x.device).view(-1, *(1,) * (x.ndim - 2))
            for v in (self.model.inputs.low, self.model.inputs.high)
        )
        slack = margin * (high - low)
        inside = ((x >= low - slack) & (x <= high + slack)).view(len(inputs), -1).all(1)
        result: NDArray[np.bool_] = inside.cpu().numpy()
        return result

    def _check(self, inputs: Tensor, beside: Tensor | None) -> None:
        shape = self.config.shape
        lead = 3 if self.model.history else 2
        if inputs.ndim != lead + len(shape.shape):
            raise OpkitInputError(
                f"inputs have {inputs.ndim} axes, expected {lead + len(shape.shape)}: "
                f"batch, {'history, ' if lead == 3 else ''}channel, "
                + ", ".join(self.config.axes)
            )
        channels = len(self.model.inputs.mean)
        if inputs.shape[lead - 1] != channels:
            raise OpkitInputError(
                f"inputs have {inputs.shape[lead - 1]} channels, expected {channels}: "
                + ", ".join(v.name for v in self.config.inputs)
            )
        if self.model.history and inputs.shape[1] != self.model.history:
            raise OpkitInputError(
                f"inputs have {inputs.shape[1]} frames, expected {self.model.history}"
            )
        channels = sum(v.channels for v in self.config.boundary)
        channels += self.config.static_channels
        given = 0 if beside is None else beside.shape[1]
        if given != channels:
            raise OpkitInputError(
                f"this surrogate takes {channels} channels of static fields or of "
                f"boundary data beside its inputs, not {given}"
            )
        if not torch.isfinite(inputs).all():
            raise OpkitInputError("inputs hold NaN or infinity: remove those samples")
        space = tuple(inputs.shape[lead:])
        if shape.inputs_on != "grid":
            self._check_mesh(space)
        elif space != shape.shape:
            self._warn_resolution(space)

    def _check_mesh(self, space: tuple[int, ...]) -> None:
        on = self.config.shape.inputs_on
        arrays = dict(self.model.mesh.named_buffers())
        expected = len(arrays["points" if on == "node" else "cells"])
        if space != (expected,):
            raise OpkitInputError(
                f"inputs have {space[0]} values, the mesh this surrogate was trained "
                f"on has {expected} of its {on}s: transfer them to that mesh first"
            )

    def _warn_resolution(self, space: tuple[int, ...]) -> None:
        measured = [
            f"relative L2 was {row.relative_l2:.3g} there"
            for row in self.config.scores
            if row.predictor == "surrogate" and row.resolution == space
        ]
        warnings.warn(
            f"trained at {self.config.shape.shape}, used at {space}: "
            + (measured[0] if measured else "its error there was never measured"),
            stacklevel=4,
        )


def load(path: str | Path, device: str = "cpu") -> Surrogate:
    """Load a surrogate from a run directory or a bundle.

    Raises:
        BundleError: missing, damaged, of a newer format, or weights that do not fit.
        OpkitInputError: an operator this opkit does not know.
    """
    config, weights = bundle.read(Path(path))
    return build(config, weights).to(device)


def build(config: BundleConfig, weights: Mapping[str, Tensor]) -> Surrogate:
    """Construct a surrogate from a bundle's record and weights.

    Raises:
        BundleError: names or shapes of the weights do not fit the operator.
    """
    model = build_model(config, weights)
    expected = model.state_dict()
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
    model.load_state_dict(dict(weights), strict=True)
    return Surrogate(model, config)


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
