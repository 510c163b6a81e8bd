"""SPON: structure-preserving operator networks on finite-element spaces.

    u_h = D ∘ P_θ ∘ E (f):  coefficients of f → network on the mesh → coefficients of u

E reads the coefficients of f, or projects cell data onto linear or quadratic elements
in L2. P_θ is a V-cycle over nested meshes (with one level, a flat network),

    h_l ← blocks(h_l),  h_{l+1} = R_l h_l,   …   h_l ← blocks(h_l + P_l h_{l+1}),

and u = g + φ s P_θ with the harmonic extension g of the Dirichlet values, the torsion
function φ of the mesh, 0 on the Dirichlet boundary, and the scale s of the training
outputs. Dirichlet coefficients are the given ones, exactly. Numbers per sample scale
and shift the features of every level (`opkit.operators.layers.modulation`).
Reference: Bouziani, Boullé, arXiv:2410.01065; φ and the fixed operators are not theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.interface import Options as BaseOptions
from opkit.operators.layers.modulation import ENTRY, Entry, modulation
from opkit.operators.layers.whole_samples import Conditions
from opkit.operators.shapes import MeshShape
from opkit.operators.spon.blocks import FixedOperators, MessagePassing
from opkit.operators.spon.hierarchy import Hierarchy, Processor

ALL_LEVELS = 64


class SPON(Operator):
    """Structure-preserving operator network on one mesh, in physical units.

    Args:
        data: the mesh, its Dirichlet nodes and values, coarser meshes.
        options: sizes; see `SPON.Options`.

    Raises:
        OpkitInputError: coarser meshes that do not fit.
    """

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("mesh",), dimensions=(1,), parameters=True, series=True
    )
    physical: ClassVar[bool] = True
    in_mean: Tensor
    in_std: Tensor
    out_scale: Tensor

    class Options(BaseOptions):
        """Options of SPON."""

        processor: Processor = "fixed-operators"
        n_levels: int = Field(default=4, ge=1, le=16, description="meshes; 1 is flat")
        hidden_channels: int = Field(default=32, ge=1)
        n_layers: int = Field(default=4, ge=1, description="blocks on the last level")
        smoothing: int = Field(
            default=1, ge=0, description="blocks before and after, on other levels"
        )
        n_cycles: int = Field(default=1, ge=1, description="V-cycles")
        log_inputs: bool = Field(default=False, description="of positive inputs")
        parameters: Entry = ENTRY

    def __init__(self, data: MeshShape, options: Options) -> None:
        super().__init__()
        self.data, self.options = data, options
        self.hierarchy = Hierarchy(data, options.processor, options.n_levels)
        self.spacings = self.hierarchy.spacings
        self.weights_of = list(range(len(self.spacings) - 1))
        width = options.hidden_channels
        stages = options.n_cycles * (2 * len(self.spacings) - 1) + 1
        self.conditions = Conditions(data)
        count = self.conditions.count
        self.modulation = modulation(count, options.parameters, [width] * stages)
        numbers = count if self.modulation is None else 0
        features = data.in_channels + numbers + self.hierarchy.static.shape[1]
        self.lifting = nn.Linear(features, width)
        self.cycles = nn.ModuleList(self._weights() for _ in range(options.n_cycles))
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, data.out_channels)
        )
        self.register_buffer("in_mean", torch.zeros(data.in_channels))
        self.register_buffer("in_std", torch.ones(data.in_channels))
        self.register_buffer("out_scale", torch.ones(data.out_channels))

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Fit the scales of inputs and outputs to the training samples.

        Raises:
            OpkitInputError: log_inputs for inputs that are not positive.
        """
        x, h = samples["inputs"], self.hierarchy
        if self.options.log_inputs and not (x > 0).all():
            raise OpkitInputError(
                "inputs are not positive: leave model.log_inputs at false"
            )
        with torch.no_grad():
            f = self._encoded(x.to(h.phi.device))
        mean, std = f.mean((0, 1)), f.std((0, 1), correction=0)
        self.in_mean.copy_(mean)
        self.in_std.copy_(torch.where(std > 1e-6 * mean.abs(), std, 1.0))
        change = samples["outputs"].to(h.phi.device) - h.lifted
        scale = change.square().mean((0, 2)).sqrt() / h.phi.square().mean().sqrt()
        self.out_scale.copy_(torch.where(scale > 0, scale, 1.0))

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, node or cell) to (batch, out_channel, node).

        In single precision whatever autocast says: sparse products know no other.
        """
        x, numbers = inputs.fields, None
        with torch.autocast(x.device.type, enabled=False):
            if self.conditions.count:
                numbers = self.conditions(inputs).to(self.in_mean.dtype)
            return self._forward(x.to(self.in_mean.dtype), numbers)

    def _forward(self, x: Tensor, numbers: Tensor | None) -> Tensor:
        mesh = self.hierarchy
        parts = [(self._encoded(x) - self.in_mean) / self.in_std]
        pairs: list[Tensor] | None = None
        if numbers is not None and self.modulation is not None:
            pairs = self.modulation(numbers)
        elif numbers is not None:
            parts.append(numbers.expand(parts[0].shape[0], -1, -1))
        parts.append(mesh.static[:, None].expand(-1, x.shape[0], -1))
        h = self.lifting(torch.cat(parts, 2))
        each = 2 * len(self.spacings) - 1
        for k, cycle in enumerate(self.cycles):
            own = None if pairs is None else pairs[k * each : (k + 1) * each]
            h = self._cycle(h, cycle, own)
        if pairs is not None:
            h = _modulated(h, pairs[-1])
        net = self.projection(h).permute(1, 2, 0)
        u = mesh.lifted + mesh.phi * self.out_scale[:, None] * net
        return torch.where(mesh.fixed, mesh.given, u)

    def on(self, data: MeshShape) -> SPON:
        """Return this operator on another mesh: new matrices, the same weights.

        A level takes the weights of the trained level of the nearest spacing. Levels
        finer than all trained ones pass features on unchanged.

        Raises:
            OpkitInputError: other channels, or inputs on another kind of place.
        """
        mine = self.data
        for name in ("in_channels", "out_channels", "inputs_on"):
            if getattr(data, name) != getattr(mine, name):
                raise OpkitInputError(
                    f"{name} is {getattr(data, name)} on the other mesh, "
                    f"{getattr(mine, name)} on the one trained on"
                )
        if data.points.shape[1] != mine.points.shape[1]:
            raise OpkitInputError(
                f"a mesh of {data.points.shape[1]} dimensions for an operator of "
                f"{mine.points.shape[1]}"
            )
        other = copy.copy(self)
        other._modules = dict(self._modules)
        last = self.spacings[-1]
        mesh = Hierarchy(data, self.options.processor, ALL_LEVELS, last)
        other.data = replace(
            data, parameters=mine.parameters, series=mine.series, times=mine.times
        )
        other.hierarchy = mesh.to(self.hierarchy.phi.device)
        trained = np.log(self.spacings[:-1])
        other.weights_of = []
        for spacing in np.log(mesh.spacings[:-1]):
            finer = not len(trained) or spacing < trained[0] - np.log(2) / 2
            nearest = -1 if finer else int(np.argmin(np.abs(trained - spacing)))
            other.weights_of.append(nearest)
        return other

    def _weights(self) -> nn.ModuleDict:
        options, d = self.options, self.data.points.shape[1]

        def blocks(count: int) -> nn.ModuleList:
            width = options.hidden_channels
            if options.processor == "message-passing":
                return nn.ModuleList(MessagePassing(width, d + 1) for _ in range(count))
            operators = self.hierarchy.operators
            return nn.ModuleList(FixedOperators(width, operators) for _ in range(count))

        inner = range(len(self.spacings) - 1)
        parts = {
            "down": nn.ModuleList(blocks(options.smoothing) for _ in inner),
            "last": blocks(options.n_layers),
            "up": nn.ModuleList(blocks(options.smoothing) for _ in inner),
        }
        return nn.ModuleDict(parts)

    def _cycle(self, h: Tensor, cycle: Any, pairs: list[Tensor] | None) -> Tensor:
        """One V-cycle; ``pairs`` modulate each level down, the last, each level up."""
        mesh, skips = self.hierarchy, []
        inner = len(self.spacings) - 1
        for level, weights in enumerate(self.weights_of):
            if pairs is not None and weights >= 0:
                h = _modulated(h, pairs[weights])
            h = self._smooth(h, cycle["down"], weights, level)
            skips.append(h)
            h = mesh.restrict[level](h)
        if pairs is not None:
            h = _modulated(h, pairs[inner])
        for block in cycle["last"]:
            h = block(h, mesh.levels[-1])
        for level, weights in reversed(list(enumerate(self.weights_of))):
            # features of a level without weights stay below: P R h is all there is
            below = mesh.prolong[level](h)
            h = skips[level] + below if weights >= 0 else below
            if pairs is not None and weights >= 0:
                h = _modulated(h, pairs[inner + 1 + weights])
            h = self._smooth(h, cycle["up"], weights, level)
        return h

    def _smooth(self, h: Tensor, sides: Any, weights: int, level: int) -> Tensor:
        if weights >= 0:
            for block in sides[weights]:
                h = block(h, self.hierarchy.levels[level])
        return h

    def _encoded(self, x: Tensor) -> Tensor:
        f = x.permute(2, 0, 1)
        encoded: Tensor = self.hierarchy.encode(
            f.log() if self.options.log_inputs else f
        )
        return encoded


def _modulated(h: Tensor, pair: Tensor) -> Tensor:
    """Return h (1 + s) + b, h (node, batch, channel), s and b (batch, channel)."""
    scale, shift = pair
    return torch.addcmul(h + shift, h, scale)
