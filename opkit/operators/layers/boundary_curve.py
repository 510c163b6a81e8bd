"""Data on closed boundary curves of a grid: names, sizes, checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.pde.boundary_curve import CURVE, faces_of


@dataclass(frozen=True)
class Curve:
    """Data on the boundary curves of a batch, each (batch, face).

    Args:
        x: position of the middle of each face.
        y: the same along y.
        value: g, or ∂u/∂n where ``kind`` is 1.
        kind: 0 Dirichlet, 1 Neumann.
        normal_x: outward normal.
        normal_y: the same along y.
    """

    x: Tensor
    y: Tensor
    value: Tensor
    kind: Tensor
    normal_x: Tensor
    normal_y: Tensor

    @property
    def places(self) -> Tensor:
        """(batch, face, 2): x and y."""
        return torch.stack([self.x, self.y], dim=-1)

    @property
    def normals(self) -> Tensor:
        """(batch, face, 2): along x and y."""
        return torch.stack([self.normal_x, self.normal_y], dim=-1)


def channel_order(names: tuple[str, ...]) -> list[int]:
    """Where the six boundary variables are among the boundary channels.

    Raises:
        OpkitInputError: one is missing.
    """
    for name in CURVE:
        if name not in names:
            raise OpkitInputError(
                f"boundary data lack {name}: have {', '.join(names) or 'none'}"
            )
    return [names.index(name) for name in CURVE]


def curve_of(boundary: Tensor, order: list[int]) -> Curve:
    """Name the channels of boundary data (batch, channel, face)."""
    return Curve(*(boundary[:, channel] for channel in order))


def sizes(samples: Mapping[str, Tensor], order: list[int]) -> Tensor:
    """Root mean squares of f, g, q and u over training samples; 1 where all are 0.

    Args:
        samples: ``inputs`` (sample, 2, y, x), ``boundary`` and ``outputs``.
        order: of the boundary channels, from `channel_order`.
    """
    source, inside = samples["inputs"].unbind(1)
    curve = curve_of(samples["boundary"], order)
    neumann, within = curve.kind > 0.5, inside > 0
    of = [source[within], curve.value[~neumann], curve.value[neumann]]
    of.append(samples["outputs"].transpose(1, 0)[:, within])
    squares = torch.stack([(v.square().sum() / max(v.numel(), 1)) for v in of])
    return torch.where(squares > 0, squares.sqrt(), 1.0)


def face_cells(curve: Curve, cells: int) -> tuple[Tensor, Tensor]:
    """Row and column of the inside cell at every face, (batch, face) each."""
    column = curve.x * cells - 0.5 - 0.5 * curve.normal_x
    row = curve.y * cells - 0.5 - 0.5 * curve.normal_y
    return tuple(p.round().long().clamp(0, cells - 1) for p in (row, column))  # type: ignore[return-value]


def check_curve(inside: Tensor, curve: Curve) -> None:
    """Refuse faces that do not run counter-clockwise around the domain, one by one.

    Left out while a graph is traced.

    Args:
        inside: (batch, y, x), 1 inside; square.
        curve: its boundary faces.

    Raises:
        OpkitInputError: the message names sample and face.
    """
    if torch.compiler.is_compiling():
        return
    mask = (inside > 0.5).cpu().numpy()
    places = (curve.x, curve.y, curve.normal_x, curve.normal_y)
    faces_of(mask, *(part.detach().cpu().numpy() for part in places))
