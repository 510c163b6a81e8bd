"""All of SPON that belongs to a mesh and has no weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from opkit.elements import SparseMatrix, restriction
from opkit.operators.mesh_shape import MeshShape
from opkit.operators.spon_blocks import EdgeGraph, OperatorGraph
from opkit.operators.spon_encode import Projection
from opkit.operators.spon_levels import build_levels, lift, torsion

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
        self.encode = Projection(data) if data.inputs_on == "cell" else nn.Identity()
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
        kept = tensor if tensor.dtype == torch.bool else tensor.float()
        self.register_buffer(name, kept, persistent=False)
