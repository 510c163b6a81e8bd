"""Integrals over facets of a mesh: of fields, and of slopes taken in the cells inside.

    ∫_Γ f ds ≈ Σ_q w_q f(x_q),   f = u, ∇u, n

Γ: edges of triangles or triangles of tetrahedra; n: the unit normal out of the cell.
Quadrature is exact to degree 5. ∇u is that of the element: its integral converges with
the degree of the elements, 1 or 2, where u is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from opkit.elements.basis import degree_of, gradients, quadrature, values
from opkit.errors import OpkitInputError

Array = NDArray[np.float64]
Cells = NDArray[np.int64]


class Facets:
    """Sides of cells; nodes may lie elsewhere for each sample.

    Args:
        cells: (cell, corner) of degree 1 or 2, corners first.
        facets: (facet, d) corners, in any order.
        dimension: d, 2 or 3.

    Raises:
        OpkitInputError: no facets, or one that is no side of a cell.
    """

    def __init__(self, cells: Cells, facets: Cells, dimension: int) -> None:
        if not len(facets):
            raise OpkitInputError("there are no facets to integrate over")
        self.degree = degree_of(dimension, cells.shape[1])
        self._dimension = dimension
        corners = cells[:, : dimension + 1]
        sides = list(combinations(range(dimension + 1), dimension))
        every = np.sort(corners[:, np.array(sides)].reshape(-1, dimension), axis=1)
        keys, wanted = _keys(every), _keys(np.sort(facets, axis=1))
        order = np.argsort(keys, kind="stable")
        place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        side = order[place]
        if (keys[side] != wanted).any():
            odd = facets[int(np.argmax(keys[side] != wanted))]
            raise OpkitInputError(
                f"the facet of nodes {', '.join(map(str, odd))} is no side of a cell"
            )
        self._owner = side // len(sides)
        own = np.array(sides)[side % len(sides)]  # (facet, d) corners of the cell
        self._nodes = cells[self._owner]
        self._corners = np.take_along_axis(corners[self._owner], own, axis=1)
        opposite = dimension * (dimension + 1) // 2 - own.sum(1)
        self._inside = corners[self._owner, opposite]
        where, self._share = quadrature(dimension - 1)
        barycentric = np.zeros((len(facets), len(where), dimension + 1))
        spread = np.broadcast_to(own[:, None], (len(own), *where.shape))
        np.put_along_axis(barycentric, spread, where[None], axis=2)
        self._values = values(barycentric, self.degree)
        self._slopes = gradients(barycentric, self.degree)

    def on(self, points: Array) -> Surface:
        """Return the surface that they are, where the nodes (node, d) lie so."""
        d = self._dimension
        corner = points[self._corners]
        sides = corner[:, 1:] - corner[:, :1]
        size = np.sqrt(np.linalg.det(sides @ sides.swapaxes(1, 2)))
        along = sides[:, 0]
        if d == 2:
            normal = np.stack([along[:, 1], -along[:, 0]], 1)
        else:
            normal = np.cross(along, sides[:, 1])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        inwards = points[self._inside] - corner[:, 0]
        normal[(normal * inwards).sum(1) > 0] *= -1
        cell = points[self._nodes[:, : d + 1]]
        jacobian = (cell[:, 1:] - cell[:, :1]).swapaxes(1, 2)
        return Surface(
            nodes=self._nodes,
            weights=size[:, None] * self._share,
            normals=normal,
            basis=self._values,
            slopes=np.einsum("fqik,fkb->fqib", self._slopes, np.linalg.inv(jacobian)),
        )

    @property
    def on_it(self) -> Cells:
        """Nodes on the facets, each once: corners, and middles of edges at degree 2."""
        touched = self._values.any(1)  # a cell's functions that are not 0 on the facet
        nodes: Cells = np.unique(self._nodes[touched])
        return nodes


@dataclass(frozen=True)
class Surface:
    """Facets with quadrature points.

    Args:
        nodes: (facet, corner) of the cell inside.
        weights: (facet, point), with the length or area.
        normals: (facet, d) out of the cell.
        basis: (facet, point, corner) values of the cell's functions.
        slopes: (facet, point, corner, d) their gradients.
    """

    nodes: Cells
    weights: Array
    normals: Array
    basis: Array
    slopes: Array

    @property
    def size(self) -> float:
        """Length or area."""
        return float(self.weights.sum())

    def load(self, nodes: int) -> Array:
        """∫ φ_i ds of each of so many nodes (node,)."""
        shares = np.einsum("fqi,fq->fi", self.basis, self.weights)
        sums: Array = np.bincount(self.nodes.ravel(), shares.ravel(), nodes)
        return sums

    def values(self, u: Array) -> Array:
        """Values (batch, facet, point) of a field (batch, node)."""
        values: Array = np.einsum("fqi,bfi->bfq", self.basis, u[:, self.nodes])
        return values

    def gradient(self, u: Array) -> Array:
        """Gradients (batch, facet, point, d) of a field (batch, node)."""
        slopes: Array = np.einsum("fqid,bfi->bfqd", self.slopes, u[:, self.nodes])
        return slopes

    def integral(self, values: Array) -> Array:
        """∫ of values (batch, facet, point), (batch,)."""
        total: Array = np.einsum("bfq,fq->b", values, self.weights)
        return total

    def flux(self, vectors: Array) -> Array:
        """∫ v·n of vectors (batch, facet, point, d), (batch,)."""
        total: Array = np.einsum("bfqd,fd,fq->b", vectors, self.normals, self.weights)
        return total


def _keys(facets: Cells) -> NDArray[np.int64]:
    """One number for each row of increasing node numbers."""
    width = 31 if facets.shape[1] == 2 else 21  # bits of a node's number, 63 in all
    if int(facets.max(initial=0)) >= 2**width:
        raise OpkitInputError(f"facets of meshes of over {2**width} nodes: too large")
    keys = np.zeros(len(facets), np.int64)
    for column in facets.T:
        keys = keys << width | column
    return keys
