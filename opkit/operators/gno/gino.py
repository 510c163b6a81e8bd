"""Geometry-informed neural operator: points to a regular grid, an FNO there, and back.

    z(g) = ∫_{|y - g| < r} κ(g, y) v(y) dμ(y),   w = FNO(z),
    u(x) = Q(∫_{|g - x| < r} λ(x, g) w(g) dg, x)

The latent grid covers the bounding box of the domain, and a margin where each sample
has points of its own. Integrals carry quadrature weights. Where few points are near a
latent one its integral fades to zero, and a further channel of the FNO says how many
are: it stands for the published distance to the surface. The answer is a function of
the place x: it can be asked for anywhere. Source: Li et al., "Geometry-Informed Neural
Operator for Large-Scale 3D PDEs", NeurIPS 2023, arXiv:2309.00583.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.gno.frame import Frame
from opkit.operators.gno.gno import (
    MEMORY,
    POINTS,
    Batch,
    answered,
    arrays,
    moved,
    nothing,
)
from opkit.operators.gno.kernel import KernelIntegral
from opkit.operators.gno.neighbours import Search, described
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator, build_operator
from opkit.operators.layers.grids import coordinates
from opkit.operators.layers.whole_samples import Conditions, channels_of, readout
from opkit.operators.shapes import DataShape, MeshShape

LATENT = {1: 64, 2: 24, 3: 12}
"""Points of the latent grid along an axis, by number of axes."""
FADES = 0.02
"""Part of a full neighbourhood below which an integral to the grid fades out."""
SLACK = 1e-6
"""Part of the domain by which a point may lie outside it, as float32 rounds."""
BALL = {1: 16 / 15, 2: math.pi / 3, 3: 32 * math.pi / 105}
"""Integral of (1 - s²)² over the unit ball, by number of axes."""
Count = Annotated[int, Field(ge=2)]


class GINO(Operator):
    """GINO on grids, meshes, and clouds of any number of points.

    Args:
        data: channels, and grid, mesh or points.
        options: sizes; see `GINO.Options`.

    Raises:
        OpkitInputError: a latent grid of other axes, or a radius that misses it.
    """

    accepts: ClassVar[Accepts] = POINTS

    class Options(interface.Options):
        """Options of the GINO."""

        hidden_channels: int = Field(default=32, ge=1)
        n_layers: int = Field(default=4, ge=1, description="of the FNO")
        kernel_width: int = Field(default=32, ge=1, description="of the kernels' nets")
        latent_shape: tuple[Count, ...] | None = Field(
            default=None, description="points of the latent grid along each axis"
        )
        n_modes: tuple[int, ...] | None = Field(
            default=None, description="of the FNO along each axis; half of latent_shape"
        )
        radius: float | None = Field(
            default=None,
            gt=0,
            description="of neighbourhoods, over the domain's length; 1.5 steps of "
            "the latent grid if unset",
        )
        margin: float = Field(
            default=0.1, ge=0, description="of the latent grid around moving points"
        )
        memory: float = MEMORY

    def __init__(self, data: DataShape | MeshShape, options: Options) -> None:
        super().__init__()
        self.options, self.data, self.frame = options, data, Frame(data)
        d, width = self.frame.axes, options.hidden_channels
        self.latent = options.latent_shape or (LATENT[d],) * d
        modes = options.n_modes or tuple(max(n // 2, 1) for n in self.latent)
        for name, sizes in (("latent_shape", self.latent), ("n_modes", modes)):
            if len(sizes) != d:
                raise OpkitInputError(
                    f"operator gino: {name} has {len(sizes)} entries, the points have "
                    f"{d} axes: give {d}"
                )
        self.margin = options.margin if self.frame.own else 0.0
        columns, hidden = self.frame.columns, options.kernel_width
        self.conditions = Conditions(data)
        features = columns + data.in_channels + self.conditions.count
        self.lifting = nn.Linear(features, width)
        self.encoder = KernelIntegral(columns, width, hidden)
        grid = DataShape(width + 1, width, self.latent, self.frame.periodic, (1.0,) * d)
        self.operator = build_operator(
            "fno",
            grid,
            dict(n_modes=modes, hidden_channels=width, n_layers=options.n_layers),
        )
        self.decoder = KernelIntegral(columns, width, hidden)
        self.projection = nn.Sequential(
            nn.Linear(width + columns, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, channels_of(data)),
        )
        self.readout = readout(data)
        self._searches: dict[tuple[str, float], Search] = {}
        if not self.frame.own:
            self.radius()  # refuse one that misses the grid, before any data are read

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Take the bounding box of all training points, where samples have their own.

        Raises:
            OpkitInputError: the samples hold no points, or the radius misses the grid.
        """
        self.frame.learn(samples, "gino")
        self.radius()

    def radius(self) -> float:
        """Return the radius of neighbourhoods, over the domain's length.

        Raises:
            OpkitInputError: a place in the grid may have no latent point that near.
        """
        lengths = (self.frame.size / self.frame.size.max()).tolist()
        steps = [
            length * (1 + 2 * self.margin) / (n if wraps else n - 1)
            for length, n, wraps in zip(
                lengths, self.latent, self.frame.periodic, strict=True
            )
        ]
        reach = math.hypot(*steps) / 2
        radius = self.options.radius or 1.5 * max(steps)
        if radius <= 1.01 * reach:
            raise OpkitInputError(
                f"operator gino: radius {radius:.3g} leaves places between latent "
                f"points without any neighbour, {reach:.3g} away: set model.radius="
                f"{1.5 * reach:.2g}, or a finer model.latent_shape"
            )
        return radius

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Of a ragged batch (1, in_channel, node) to (1, out_channel, node).

        Args:
            inputs: fields; numbers per sample; points (batch, *space, d) where each
                sample has its own, and their quadrature weights (batch, *space).

        Raises:
            OpkitInputError: points are missing, lie outside the latent grid, or have
                more neighbours than memory holds.
        """
        if self.frame.own and not inputs.batch:
            return nothing(inputs, self, self.data)
        batch = self.batch(inputs)
        u = self.decoded(self.encoded(batch), batch.unit, batch.counts)
        return answered(self.readout, u, batch)

    def at(self, inputs: Inputs, points: Tensor) -> Tensor:
        """Answer at points, (batch, out_channel, point).

        Args:
            inputs: as for a call.
            points: (point, axis), in the unit cube of a grid, and in the coordinates of
                a mesh or cloud.

        Raises:
            OpkitInputError: a point lies outside the latent grid.
        """
        if not inputs.batch:
            return inputs.fields.new_zeros(0, self.data.out_channels, len(points))
        unit = points.to(inputs.fields)
        if not self.frame.on_grid:
            unit = self.frame.to_unit(unit)
        latent = self.encoded(self.batch(inputs))
        sets = latent.shape[0]
        u = self.decoded(latent, unit.repeat(sets, 1), [len(unit)] * sets)
        u = u.view(sets, len(unit), *u.shape[1:])  # (set, point, together, channel)
        return u.permute(0, 2, 3, 1).flatten(0, 1)

    def batch(self, inputs: Inputs) -> Batch:
        """Lay the points of a batch one after another."""
        numbers = self.conditions(inputs) if self.conditions.count else None
        return Batch(self.frame, inputs, True, numbers)

    def encoded(self, batch: Batch) -> Tensor:
        """Return the FNO's answer (set of points, together, width, *latent)."""
        columns = [batch.places[:, None].expand(-1, batch.together, -1), batch.columns]
        if batch.numbers is not None:
            columns.append(batch.numbers)
        v = self.lifting(torch.cat(columns, 2))
        sets, nodes = len(batch.counts), self.nodes(batch.unit)
        self.inside(batch.unit, batch.counts)
        grid, radius = self.frame.embed(nodes), self.radius()
        targets = grid.repeat(sets, 1)
        found = self.search("encoder", radius)(
            arrays(targets, [len(grid)] * sets),
            arrays(batch.places, batch.counts),
            batch.together,
            alone=False,
        )
        floor = FADES * self.full(radius)
        pairs = described(found, targets, batch.places, batch.weights, radius, floor)
        z = self.encoder(v, pairs)
        covered = z.new_zeros(len(targets)).index_add(
            0, pairs.target, pairs.weights.to(z)
        )
        covered = covered[:, None, None].expand(-1, batch.together, 1)
        z = torch.cat([z, covered], 2)
        z = z.view(sets, len(grid), *z.shape[1:]).permute(0, 2, 3, 1).flatten(0, 1)
        w: Tensor = self.operator(z.reshape(*z.shape[:2], *self.latent))
        return w.view(sets, batch.together, *w.shape[1:])

    def decoded(self, latent: Tensor, unit: Tensor, counts: list[int]) -> Tensor:
        """Return the answer (point, together, channel) at points in the unit box.

        Args:
            latent: (set of points, together, width, *latent).
            unit: (point, axis) of all sets, one after another.
            counts: points of each set.
        """
        self.inside(unit, counts)
        sets, together = latent.shape[:2]
        grid, radius = self.frame.embed(self.nodes(unit)), self.radius()
        places, sources = self.frame.embed(unit), grid.repeat(sets, 1)
        found = self.search("decoder", radius)(
            arrays(places, counts),
            arrays(sources, [len(grid)] * sets),
            together,
            alone=False,
        )
        even = sources.new_ones(len(sources))
        pairs = described(found, places, sources, even, radius)
        w = latent.flatten(3).permute(0, 3, 1, 2).flatten(0, 1)
        features = self.decoder(w, pairs)
        here = places[:, None].expand(-1, together, -1)
        u: Tensor = self.projection(torch.cat([features, here], 2))
        return u

    def nodes(self, like: Tensor) -> Tensor:
        """Return the latent points (node, axis), in the unit box and its margin."""
        grid = coordinates(self.latent, self.frame.periodic, like).flatten(1).T
        return grid * (1 + 2 * self.margin) - self.margin

    def full(self, radius: float) -> float:
        """Return the weight of a full neighbourhood, of points all over the box."""
        lengths = self.frame.size / self.frame.size.max()
        d = self.frame.axes
        return min(BALL[d] * radius**d / float(lengths.prod()), 1.0)

    def inside(self, unit: Tensor, counts: list[int]) -> None:
        """Refuse points outside the latent grid.

        Args:
            unit: (point, axis) in the unit box of the domain.
            counts: points of each set.

        Raises:
            OpkitInputError: names the point farthest outside.
        """
        wraps = torch.tensor(self.frame.periodic, device=unit.device)
        with torch.no_grad():
            beyond = torch.maximum(-unit, unit - 1).masked_fill(wraps, 0)
            if not len(beyond) or beyond.max() <= self.margin + SLACK:
                return
            row, axis = divmod(int(beyond.argmax()), unit.shape[1])
            low, size = (
                float(part[axis]) for part in (self.frame.low, self.frame.size)
            )
            value = low + float(unit[row, axis]) * size
            left = row
            for count in counts:
                if left < count:
                    break
                left -= count
        remedy = (
            f"train on samples that reach there, or set model.margin="
            f"{math.ceil(105 * float(beyond.max())) / 100:g}"
            if self.frame.own
            else "give points of the domain"
        )
        raise OpkitInputError(
            f"operator gino: point {left} lies outside the latent grid, axis {axis} at "
            f"{value:.6g}, the grid from {low - self.margin * size:.6g} to "
            f"{low + (1 + self.margin) * size:.6g}: {remedy}"
        )

    def search(self, part: str, radius: float) -> Search:
        """Return the search of neighbours for the encoder or the decoder."""
        key = (part, radius)
        if key not in self._searches:
            width, hidden = self.options.hidden_channels, self.options.kernel_width
            floats = (4 * hidden + 2 * width, 2 * width)
            self._searches = {k: v for k, v in self._searches.items() if k[0] != part}
            self._searches[key] = Search("gino", radius, self.options.memory, floats)
        return self._searches[key]

    def on(self, data: MeshShape) -> GINO:
        """Return this operator on another mesh: the same weights and latent grid.

        Raises:
            OpkitInputError: other channels, places of the inputs, or axes.
        """
        frame = moved(self.frame, data)
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.data, other.frame = data, frame
        return other
