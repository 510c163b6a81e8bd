"""All of SPON that belongs to a mesh and has no weights.

`CellEncoder` projects cell data onto linear or quadratic elements, in L2.
"""

from __future__ import annotations

from math import ceil, log
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from opkit.elements import SparseMatrix, cell_moments, mass, restriction
from opkit.operators.shapes import MeshShape
from opkit.operators.spon.blocks import EdgeGraph, OperatorGraph
from opkit.operators.spon.levels import build_levels, lift, torsion

Processor = Literal["fixed-operators", "message-passing"]


class Hierarchy(nn.Module):
    """Encoder, levels, transfer between them, and the fields that describe the mesh.

    Args:
        data: the mesh, its Dirichlet nodes and values, coarser meshes.
        processor: what the levels are made for.
        count: levels at most.
        spacing: of the last level, if the nearest to it is to be the last.

    Raises:
        OpkitInputError: coarser meshes that do not fit.
    """

    static: Tensor
    phi: Tensor
    lifted: Tensor
    fixed: Tensor
    given: Tensor

    def __init__(
        self,
        data: MeshShape,
        processor: Processor,
        count: int,
        spacing: float | None = None,
    ) -> None:
        super().__init__()
        spaces, prolongations = build_levels(data, count)
        if spacing is not None:
            ratios = [abs(np.log(space.spacing / spacing)) for space in spaces]
            spaces = spaces[: int(np.argmin(ratios)) + 1]
            prolongations = prolongations[: len(spaces) - 1]
        self.spacings = tuple(space.spacing for space in spaces)
        self.operators = len(spaces[0].operators())
        graph = OperatorGraph if processor == "fixed-operators" else EdgeGraph
        self.levels = nn.ModuleList(graph(space) for space in spaces)
        self.prolong = nn.ModuleList(SparseMatrix(P) for P in prolongations)
        self.restrict = nn.ModuleList(
            SparseMatrix(restriction(P)) for P in prolongations
        )
        self.encode = Projection(data) if data.on_cells else nn.Identity()
        phi = torsion(spaces[0], data.fixed)
        low, size = data.points.min(axis=0), np.ptp(data.points, axis=0).max()
        self._keep("static", [2 * (data.points - low) / size - 1, data.fixed, phi])
        self._keep("phi", phi)
        self._keep("lifted", lift(spaces[0], data.fixed, data.given))
        self._keep("fixed", data.fixed)
        self._keep("given", np.where(data.fixed, data.given, 0.0))

    def _keep(self, name: str, arrays: object) -> None:
        """Register what can be made again from the mesh: not stored with weights."""
        array = np.column_stack(arrays) if isinstance(arrays, list) else arrays
        tensor = torch.as_tensor(array)
        stored = tensor if tensor.dtype == torch.bool else tensor.float()
        self.register_buffer(name, stored, persistent=False)


TOLERANCE = 1e-7
"""Relative error at which the iteration stops: single precision."""


class Projection(nn.Module):
    """M c = b, b_i = Σ_c f_c ∫_c φ_i: coefficients c of piecewise constant f.

    Chebyshev's iteration on D⁻¹ M c = D⁻¹ b, D = diag(M), made of sparse products only.
    The eigenvalues of D⁻¹ M lie between those of a single element on every mesh
    (Wathen, IMA J. Numer. Anal. 7, 1987): in [1/2, 2] for linear triangles, where the
    error falls by 3 per step. Constants stay exact.

    Args:
        data: the mesh.
    """

    def __init__(self, data: MeshShape) -> None:
        super().__init__()
        matrix = mass(data.points, data.cells)
        inverse = sparse.diags_array(1 / matrix.diagonal())
        self.scaled = SparseMatrix(inverse @ matrix)
        self.load = SparseMatrix(inverse @ cell_moments(data.points, data.cells))
        low, high = element_bounds(data)
        self.centre, self.radius = (high + low) / 2, (high - low) / 2
        root = (high / low) ** 0.5
        self.steps = ceil(log(TOLERANCE / 2) / log((root - 1) / (root + 1)))

    def forward(self, f: Tensor) -> Tensor:
        """Map (cell, ...) to (node, ...)."""
        b: Tensor = self.load(f)
        ratio = self.centre / self.radius
        rho = 1 / ratio
        change = b / self.centre
        c = change
        for _ in range(self.steps):
            after = 1 / (2 * ratio - rho)
            residual = b - self.scaled(c)
            change = after * rho * change + 2 * after / self.radius * residual
            c, rho = c + change, after
        return c


def element_bounds(data: MeshShape) -> tuple[float, float]:
    """Smallest and largest eigenvalue of D⁻¹ M on one element of the mesh."""
    nodes = data.cells[0]
    one = mass(data.points[nodes], np.arange(len(nodes))[None]).toarray()
    scale = np.diag(one.diagonal() ** -0.5)
    eigenvalues = np.linalg.eigvalsh(scale @ one @ scale)
    return float(eigenvalues[0]), float(eigenvalues[-1])
