"""Graph neural operator: layers of kernel integrals over the neighbours of points.

    v⁰ = P(x, a(x), θ),   u = Q v,
    v ← v + σ(W v + M ∫_{|y - x| < r} κ(x, y) v(y) dμ(y) + b)

on any points, in any order. With quadrature weights the integrals do not drift with
the density of points; without them they are the published means over neighbours. The
kernel sees places, not the fields, and acts on each channel by itself before the matrix
M mixes them: the published one is a matrix at each pair, as many times dearer as there
are channels. `LNO` has kernels of low rank over the whole domain.

With ``linear`` there is no σ, b or P of anything but the fields: u is linear in a (a
source), between normalised values, and with one layer

    u(x) = ∫ G(x, y) a(y) dμ(y) + C a(x),   G(x, y) = Σ_c (Q M)_c κ_c(x, y) P_c

(`GNO.green`). Source: Kovachki, Li, Liu, Azizzadenesheli, Bhattacharya, Stuart,
Anandkumar, "Neural Operator", JMLR 24, 2023, arXiv:2108.08481.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.gno.frame import Frame
from opkit.operators.gno.kernel import KernelIntegral, LowRank
from opkit.operators.gno.neighbours import Pairs, Search, described
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.nodes import counts_of
from opkit.operators.layers.whole_samples import (
    Conditions,
    Readout,
    channels_of,
    readout,
)
from opkit.operators.shapes import DataShape, MeshShape

POINTS = Accepts(
    geometries=("grid", "mesh"),
    dimensions=(1, 2, 3),
    parameters=True,
    needs_fields=False,
    points=True,
    ragged=True,
    series=True,
    readouts=True,
)
"""What operators of kernel integrals take."""
MEMORY = Field(default=4.0, gt=0, description="GiB that the pairs of a step may take")


class PointOptions(interface.Options):
    """Options that operators of kernel integrals share."""

    hidden_channels: int = Field(default=32, ge=1)
    n_layers: int = Field(default=4, ge=1)
    kernel_width: int = Field(default=32, ge=1, description="of the kernels' networks")
    linear: bool = Field(default=False, description="linear in the fields")
    weights: bool = Field(
        default=True, description="quadrature weights in the sums; False: published"
    )


class Batch:
    """Points of a batch, laid one after another unless all samples have the same.

    Args:
        frame: of the domain.
        inputs: of the batch.
        weighted: whether sums carry the quadrature weights of the data.
        numbers: (batch, n) what belongs to whole samples; None where nothing does.
    """

    def __init__(
        self, frame: Frame, inputs: Inputs, weighted: bool, numbers: Tensor | None
    ) -> None:
        fields = frame.nodes.on_nodes(inputs.fields)
        self.space, self.samples = tuple(fields.shape[2:]), len(fields)
        counts = counts_of(inputs)
        self.unit = frame.unit(inputs, self.space)
        self.quadrature = weights = frame.nodes.quadrature(inputs, self.space, counts)
        if not weighted:
            weights = torch.ones_like(weights)
        self.given = counts
        self.columns = fields.flatten(2).permute(2, 0, 1)
        points = len(self.columns)
        self.numbers = None if numbers is None else numbers.expand(points, -1, -1)
        own = len(self.unit) > 1 or (inputs.weights is not None and self.samples > 1)
        self.apart = counts is None and own
        if self.apart:
            counts = [points] * self.samples
            self.unit = self.unit.expand(self.samples, -1, -1)
            weights = weights.expand(self.samples, -1)
            self.columns = self.columns.transpose(0, 1).flatten(0, 1)[:, None]
            if numbers is not None:
                self.numbers = numbers[:, None].expand(-1, points, -1).flatten(0, 1)
                self.numbers = self.numbers[:, None]
        elif inputs.sample is not None and numbers is not None:
            self.numbers = numbers[inputs.sample][:, None]
        self.counts = counts or [points]
        self.unit, self.weights = self.unit.flatten(0, 1), weights.flatten()
        self.places = frame.embed(self.unit)

    @property
    def together(self) -> int:
        """Samples that share the points."""
        return self.columns.shape[1]

    @property
    def sample(self) -> Tensor:
        """Which set of points each point belongs to, (point,)."""
        counts = torch.tensor(self.counts, device=self.places.device)
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)

    def shaped(self, u: Tensor) -> Tensor:
        """Return answers (point, together, channel) as (batch, channel, *space)."""
        if self.apart:
            u = u.view(self.samples, -1, u.shape[-1]).permute(0, 2, 1)
        else:
            u = u.permute(1, 2, 0)
        return u.reshape(*u.shape[:2], *self.space)


class PointOperator(Operator):
    """What operators of kernel integrals share: all but the integral.

    Args:
        data: channels, and grid, mesh or points.
        options: sizes.
        integral: makes that of a layer, for places of so many numbers.

    Raises:
        OpkitInputError: linear in fields that there are none of.
    """

    accepts: ClassVar[Accepts] = POINTS
    name: ClassVar[str]

    def __init__(
        self,
        data: DataShape | MeshShape,
        options: PointOptions,
        integral: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        if options.linear and not data.in_channels:
            raise OpkitInputError(
                f"operator {self.name}: linear=true needs input fields, the data have "
                "none: set model.linear=false"
            )
        if options.linear and data.readouts:
            raise OpkitInputError(
                f"operator {self.name}: linear=true is for outputs that are all "
                "fields, these are numbers or series: set model.linear=false"
            )
        self.options, self.data, self.frame = options, data, Frame(data)
        self.conditions, out = Conditions(data), channels_of(data)
        width, bias = options.hidden_channels, not options.linear
        features = data.in_channels
        if not options.linear:
            features += self.frame.columns + self.conditions.count
        self.lifting: nn.Module = nn.Linear(features, width, bias)
        if not options.linear:
            self.lifting = nn.Sequential(
                nn.Linear(features, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )
        self.gains = None
        if options.linear and self.conditions.count:
            self.gains = nn.Sequential(
                nn.Linear(self.conditions.count, width),
                nn.GELU(),
                nn.Linear(width, width),
            )
        self.integrals = nn.ModuleList(
            integral(self.frame.columns) for _ in range(options.n_layers)
        )
        self.mixing = nn.ModuleList(
            nn.Linear(2 * width, width, bias) for _ in range(options.n_layers)
        )
        self.projection: nn.Module = nn.Linear(width, out, bias)
        if not options.linear:
            self.projection = nn.Sequential(
                nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, out)
            )
        self.readout = readout(data)

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Take the bounding box of all training points, where samples have their own.

        Raises:
            OpkitInputError: the samples hold no points.
        """
        self.frame.learn(samples, self.name)

    def lifted(self, batch: Batch) -> Tensor:
        """Return features (point, together, width)."""
        columns = batch.columns
        if self.options.linear:
            v: Tensor = self.lifting(columns)
            if self.gains is not None:
                assert batch.numbers is not None
                v = v * self.gains(batch.numbers)
            return v
        places = batch.places[:, None].expand(-1, batch.together, -1)
        parts = [places, columns]
        if batch.numbers is not None:
            parts.append(batch.numbers)
        lifted: Tensor = self.lifting(torch.cat(parts, 2))
        return lifted

    def batch(self, inputs: Inputs) -> Batch:
        """Lay the points of a batch one after another."""
        numbers = self.conditions(inputs) if self.conditions.count else None
        return Batch(self.frame, inputs, self.options.weights, numbers)

    def answer(self, v: Tensor, batch: Batch) -> Tensor:
        """Return the outputs, of features (point, together, width)."""
        return answered(self.readout, self.projection(v), batch)

    def layer(self, k: int, v: Tensor, integral: Tensor) -> Tensor:
        """Add to features what layer k makes of them and of their integral."""
        change: Tensor = self.mixing[k](torch.cat([v, integral], 2))
        return change if self.options.linear else v + F.gelu(change)

    def on(self, data: MeshShape) -> Operator:
        """Return this operator on another mesh: the same weights and domain.

        Raises:
            OpkitInputError: other channels, places of the inputs, or axes.
        """
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.data, other.frame = data, moved(self.frame, data)
        return other


def moved(frame: Frame, data: MeshShape) -> Frame:
    """Return a frame on another mesh, in the same scale.

    Raises:
        OpkitInputError: other channels, places of the inputs, or axes.
    """
    mine = frame.data
    if not isinstance(mine, MeshShape) or not data.exchanges_with(mine):
        raise OpkitInputError(
            "the other mesh has other channels or axes than the one trained on: "
            "give one with the same inputs and outputs"
        )
    other = Frame(data).to(frame.low.device)
    other.low.copy_(frame.low)
    other.size.copy_(frame.size)
    return other


class PairOperator(PointOperator, ABC):
    """What operators share whose integrals are over pairs of near points."""

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Of a ragged batch (1, in_channel, node) to (1, out_channel, node).

        Args:
            inputs: fields; numbers per sample; points (batch, *space, d) where each
                sample has its own, and their quadrature weights (batch, *space).

        Raises:
            OpkitInputError: points are missing, lie on other axes or alone, or have
                more neighbours than memory holds.
        """
        if self.frame.own and not inputs.batch:
            return nothing(inputs, self, self.data)
        batch = self.batch(inputs)
        pairs = self.pairs(batch)
        v = self.lifted(batch)
        for k, integral in enumerate(self.integrals):
            v = self.layer(k, v, integral(v, pairs))
        return self.answer(v, batch)

    @abstractmethod
    def pairs(self, batch: Batch) -> Any:
        """Return the neighbours that the integrals are over."""


class GNO(PairOperator):
    """Graph neural operator on grids, meshes, and clouds of any number of points.

    Args:
        data: channels, and grid, mesh or points.
        options: sizes; see `GNO.Options`.
    """

    name: ClassVar[str] = "gno"

    class Options(PointOptions):
        """Options of the GNO."""

        radius: float | None = Field(
            default=0.1,
            gt=0,
            description="of neighbourhoods, over the domain's length; null: all points",
        )
        memory: float = MEMORY

    def __init__(self, data: DataShape | MeshShape, options: Options) -> None:
        width, hidden = options.hidden_channels, options.kernel_width
        super().__init__(
            data, options, lambda columns: KernelIntegral(columns, width, hidden)
        )
        self.radius = options.radius
        layers = options.n_layers
        # of each layer four hidden values and a kernel; products for each sample
        floats = (layers * (4 * hidden + 2 * width), layers * 2 * width)
        self.search = Search(self.name, options.radius, options.memory, floats)

    def pairs(self, batch: Batch) -> Pairs:
        """Return the neighbours of all points."""
        cut = arrays(batch.places, batch.counts)
        found = self.search(cut, cut, batch.together, alone=True)
        return described(found, batch.places, batch.places, batch.weights, self.radius)

    def green(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the kernel G(x, y) that a linear layer has learnt, (point, out, in).

        Of normalised values, as the integral over the domain's unit measure has it.

        Args:
            x: (point, axis) in the unit box of the domain.
            y: (point, axis) likewise.

        Raises:
            OpkitInputError: the operator is not linear, or has more than one layer, or
                numbers per sample.
        """
        kernel, mixing, out = self.integrals[0], self.mixing[0], self.projection
        one = self.options.linear and self.options.n_layers == 1
        if not (one and self.radius is None) or self.gains is not None:
            raise OpkitInputError(
                "operator gno: only a linear layer over all points has one kernel: set "
                "model.linear=true, model.n_layers=1, model.radius=null"
            )
        assert isinstance(kernel, KernelIntegral) and isinstance(out, nn.Linear)
        assert isinstance(mixing, nn.Linear)
        after = out.weight @ mixing.weight[:, self.options.hidden_channels :]
        here, there = self.frame.embed(x), self.frame.embed(y)
        step = there - here
        length = (step.square().sum(1, keepdim=True) + 1e-12).sqrt()
        values = kernel.net(torch.cat([here, step, length], 1))
        assert isinstance(self.lifting, nn.Linear)
        return torch.einsum("oc,pc,ci->poi", after, values, self.lifting.weight)


class LNO(PointOperator):
    """Operator of kernels of low rank, on grids, meshes, and clouds of points.

    Args:
        data: channels, and grid, mesh or points.
        options: sizes; see `LNO.Options`.
    """

    name: ClassVar[str] = "lno"

    class Options(PointOptions):
        """Options of the LNO."""

        rank: int = Field(default=4, ge=1, description="products that make a kernel")

    def __init__(self, data: DataShape | MeshShape, options: Options) -> None:
        sizes = options.hidden_channels, options.kernel_width, options.rank
        super().__init__(data, options, lambda columns: LowRank(columns, *sizes))

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Args:
            inputs: as of `PairOperator.forward`.

        Raises:
            OpkitInputError: points are missing, or lie on other axes.
        """
        if self.frame.own and not inputs.batch:
            return nothing(inputs, self, self.data)
        batch = self.batch(inputs)
        sample = batch.sample
        weights = batch.weights
        if not self.options.weights:
            counts = torch.bincount(sample).to(weights)
            weights = weights / counts[sample]
        v = self.lifted(batch)
        for k, integral in enumerate(self.integrals):
            v = self.layer(k, v, integral(v, batch.places, weights, sample))
        return self.answer(v, batch)


def answered(readout: Readout | None, u: Tensor, batch: Batch) -> Tensor:
    """Return the outputs of a batch, of the last channels (point, together, channel).

    Args:
        readout: of outputs that are no fields.
        u: what the projection gives.
        batch: whose points they are at.
    """
    channels = batch.shaped(u)
    if readout is None:
        return channels
    read: Tensor = readout(channels, batch.quadrature, batch.given)
    return read


def nothing(inputs: Inputs, operator: nn.Module, data: DataShape | MeshShape) -> Tensor:
    """Return the answer to a batch without samples, which all weights lead to."""
    space = tuple(inputs.fields.shape[2:])
    sums = torch.stack([weight.sum() for weight in operator.parameters()]).sum()
    if data.packing is not None:
        return sums.expand(0, 1, sum(data.packing.sizes))
    return sums.expand(0, data.out_channels, *space)


def arrays(places: Tensor, counts: list[int]) -> list[Array]:
    """Return the places of each set of points, for a search."""
    rows = torch.split(places.detach().cpu().double(), counts)
    return [row.numpy() for row in rows]
