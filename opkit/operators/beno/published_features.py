"""Graphs and features of the published BENO.

Coordinates are in the published order: along rows (y) first, then along columns (x).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree
from torch import Tensor, nn

from opkit.operators.layers.boundary_curve import Curve

NODE_FEATURES, EDGE_FEATURES = 10, 7
_NEAREST = 11  # each cell itself among them
Indices = NDArray[np.int64]
_CACHE: OrderedDict[bytes, Indices] = OrderedDict()
_REMEMBERED = 4096


def edges_of(inside: NDArray[np.bool_]) -> Indices:
    """Pairs (2, edge) of cells: 11 nearest and Delaunay's, both ways, each once.

    Equally distant cells are taken in the order of their numbers (in the published
    code rounding decides). Remembered by mask.
    """
    key = bytes(str(inside.shape), "ascii") + np.packbits(inside).tobytes()
    if key in _CACHE:
        _CACHE.move_to_end(key)
        return _CACHE[key]
    cells = np.argwhere(inside)
    count = len(cells)
    # 25 nearest hold all cells as near as the 11th; on integers ties are exact
    distance, near = cKDTree(cells).query(cells, k=min(25, count))
    squared = np.rint(distance**2).astype(np.int64)
    order = np.argsort(squared * count + near, axis=1)[:, :_NEAREST]
    chosen = np.take_along_axis(near, order, axis=1)
    first = np.repeat(np.arange(count), chosen.shape[1])
    pairs = [np.stack([first, chosen.ravel()])]
    if count > 3:
        corners = Delaunay(cells).simplices
        pairs += [corners[:, [a, b]].T for a, b in ((0, 1), (1, 2), (2, 0))]
    joined = np.concatenate([*pairs, *(pair[::-1] for pair in pairs)], axis=1)
    edges = np.stack(np.divmod(np.unique(joined[0] * count + joined[1]), count))
    _CACHE[key] = edges
    if len(_CACHE) > _REMEMBERED:
        _CACHE.popitem(last=False)
    return edges


@dataclass(frozen=True)
class Graphs:
    """The graphs of a batch, nodes numbered through.

    Args:
        flat: (node,) place of each node in the flattened (batch, y, x) array.
        sample: (node,) which sample it belongs to.
        source: (edge,) node an edge comes from.
        target: (edge,) node it goes to.
        degree: (node,) number of edges that come in.
        cells: along an axis.
    """

    flat: Tensor
    sample: Tensor
    source: Tensor
    target: Tensor
    degree: Tensor
    cells: int

    @classmethod
    def of(cls, inside: Tensor) -> Graphs:
        """Make them from masks (batch, y, x)."""
        masks = (inside > 0).cpu().numpy()
        starts = np.cumsum([0, *(int(mask.sum()) for mask in masks)])
        pairs = [np.zeros((2, 0), np.int64)]
        for mask, start in zip(masks, starts[:-1], strict=True):
            pairs.append(edges_of(mask) + start)
        joined = torch.from_numpy(np.concatenate(pairs, axis=1)).to(inside.device)
        flat = (inside > 0).flatten().nonzero()[:, 0]
        degree = torch.bincount(joined[1], minlength=len(flat)).to(inside.dtype)
        return cls(
            flat,
            flat // inside.shape[1:].numel(),
            joined[0],
            joined[1],
            degree,
            inside.shape[1],
        )


class FeatureScales(nn.Module):
    """Means and standard deviations of the published features, and the features.

    Rows of ``moments``: f, smoothed f, its derivatives along y and x, boundary values,
    u; columns: mean, standard deviation.
    """

    moments: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("moments", torch.tensor([[0.0, 1.0]]).repeat(6, 1))

    def fit(
        self, source: Tensor, inside: Tensor, curve: Curve, outputs: Tensor
    ) -> None:
        """Take f and u over cells inside, all others over everything."""
        within = inside > 0
        smooth = smoothed(source)
        parts = [source[within], smooth, *gradient(smooth), curve.value]
        parts.append(outputs.transpose(1, 0)[:, within])
        for i, part in enumerate(parts):
            self.moments[i, 0] = part.mean()
            self.moments[i, 1] = part.std() + 1e-5

    def decode(self, u: Tensor) -> Tensor:
        """Normalised u to physical units."""
        return u * self.moments[5, 1] + self.moments[5, 0]

    def features(
        self, source: Tensor, inside: Tensor, curve: Curve, graphs: Graphs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes (node, 10), edges (edge, 7) and boundary tokens (batch, face, 3).

        Nodes: y, x, f, smoothed f, its two derivatives, distances to two faces along y
        and to two along x. Edges: y and x of both ends, f of both, distance.
        """
        smooth = smoothed(source)
        fields = torch.stack([source, smooth, *gradient(smooth)], dim=-1)
        mean, std = self.moments[:4].unbind(1)
        fields = ((fields - mean) / std).flatten(0, 2)[graphs.flat]
        row, column = _place(graphs)
        places = (
            torch.stack([row, column], dim=-1).to(source.dtype) + 0.5
        ) / graphs.cells
        along_y = _distances(
            curve.x, curve.y, curve.normal_y, graphs, column, places[:, 0]
        )
        along_x = _distances(
            curve.y, curve.x, curve.normal_x, graphs, row, places[:, 1]
        )
        nodes = torch.cat([places, fields, along_y, along_x], dim=-1)
        a, b = graphs.source, graphs.target
        length = (places[a] - places[b]).norm(dim=-1, keepdim=True)
        edges = torch.cat(
            [places[a], places[b], fields[a, :1], fields[b, :1], length], dim=-1
        )
        value = (curve.value - self.moments[4, 0]) / self.moments[4, 1]
        return nodes, edges, torch.stack([curve.y, curve.x, value], dim=-1)


def smoothed(field: Tensor) -> Tensor:
    """Gaussian of 5 by 5 cells and width 5, mirrored at the ends."""
    weight = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / 5.0) ** 2).to(field)
    weight = weight / weight.sum()
    kernel = (weight[:, None] * weight)[None, None]
    return F.conv2d(F.pad(field[:, None], (2, 2, 2, 2), mode="reflect"), kernel)[:, 0]


def gradient(field: Tensor) -> tuple[Tensor, Tensor]:
    """Differences along y and x in units of cells, one-sided at the ends."""
    along_y, along_x = torch.gradient(field, dim=(1, 2))
    return along_y, along_x


def _place(graphs: Graphs) -> tuple[Tensor, Tensor]:
    cell = graphs.flat % graphs.cells**2
    return cell // graphs.cells, cell % graphs.cells


def _distances(
    across: Tensor,
    along: Tensor,
    normal: Tensor,
    graphs: Graphs,
    line: Tensor,
    here: Tensor,
) -> Tensor:
    """Distances (node, 2) to the first two faces, in the curve's order, on its line.

    Args:
        across: (batch, face) coordinate that names a line of cells.
        along: the other coordinate.
        normal: component of the normal along the line; faces across it have one.
        graphs: nodes.
        line: (node,) its line.
        here: (node,) its coordinate along the line.
    """
    faces = across.shape[1]
    lines = torch.arange(graphs.cells, device=across.device)[:, None]
    number = (across * graphs.cells - 0.5).round().long()[:, None]
    on = (number == lines) & (normal.abs() > 0.5)[:, None]
    early = torch.where(on, faces - torch.arange(faces, device=across.device), 0)
    first = faces - early.topk(2, dim=-1).values  # (batch, line, 2)
    ends = along.gather(1, first.clamp(max=faces - 1).flatten(1)).view(first.shape)
    return (ends[graphs.sample, line] - here[:, None]).abs()
