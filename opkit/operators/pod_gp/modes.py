"""Principal modes of fields, orthonormal in an inner product of functions.

    u = m + Σ_k c_k φ_k,   <φ_j, φ_k> = δ_jk,   <u, v> = Σ_channels u_cᵀ M v_c,

m the mean of the samples; M the mass matrix of the elements on a mesh, the weights of
the trapezoidal rule on a grid, the volumes of cells for what is constant on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from opkit import elements
from opkit.operators.shapes import DataShape, MeshShape

Weigh = Callable[[Tensor], Tensor]
"""Fields u (..., point) to M u (..., point), float64."""

RANK = 1e-12
"""Variance of a mode, of the largest, below which it is rounding."""


@dataclass(frozen=True)
class Modes:
    """Principal modes of samples.

    Args:
        mean: m (channel, point).
        fields: φ (mode, channel, point).
        std: of the coefficients (mode,), decreasing.
        energy: share of the variance in the modes.
    """

    mean: Tensor
    fields: Tensor
    std: Tensor
    energy: float


def inner_product(data: DataShape | MeshShape, on_cells: bool = False) -> Weigh:
    """Return M of a grid or a mesh, for fields with one axis of points.

    Args:
        data: grid or mesh.
        on_cells: the fields are constant on the cells of the mesh.
    """
    if isinstance(data, MeshShape) and not on_cells:
        mass = elements.mass(data.points, data.cells)

        def weigh(u: Tensor) -> Tensor:
            rows = u.detach().cpu().double().reshape(-1, u.shape[-1])
            return torch.from_numpy(mass @ rows.numpy().T).T.reshape(u.shape).to(u)

        return weigh
    if isinstance(data, MeshShape):
        moments = elements.cell_moments(data.points, data.cells)
        weights = torch.from_numpy(moments.sum(axis=0))
    else:
        weights = _trapezoid(data)
    return lambda u: u * weights.to(u)


def _trapezoid(data: DataShape) -> Tensor:
    weights = torch.ones(1, dtype=torch.float64)
    for n, length, wraps in zip(data.shape, data.extent, data.periodic, strict=True):
        axis = torch.ones(n, dtype=torch.float64)
        if not wraps and n > 1:
            axis[[0, -1]] = 0.5
        weights = torch.outer(weights, axis * (length / axis.sum())).flatten()
    return weights


def principal_modes(u: Tensor, weigh: Weigh, most: int, energy: float) -> Modes | None:
    """Return the principal modes, None of samples that are all the same.

    Args:
        u: (sample, channel, point), float64.
        weigh: the inner product.
        most: modes at most.
        energy: share of the variance that is enough.
    """
    mean = u.mean(0)
    centred = u - mean
    # method of snapshots: the Gram matrix has one row a sample, not a point
    gram = centred.flatten(1) @ weigh(centred).flatten(1).T / len(u)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    size = float((weigh(u) * u).sum() / len(u))
    if float(values[0]) <= 1e-13 * size:
        return None
    share = values.cumsum(0) / values.sum()
    count = min(
        int((share < energy).sum()) + 1, int((values > RANK * values[0]).sum()), most
    )
    fields = (vectors[:, :count].T @ centred.flatten(1)).view(count, *mean.shape)
    for _ in range(2):  # what rounding took from the small ones
        products = fields.flatten(1) @ weigh(fields).flatten(1).T
        root = torch.linalg.cholesky(products)
        fields = torch.linalg.solve_triangular(
            root, fields.flatten(1), upper=False
        ).view_as(fields)
    return Modes(mean, fields, values[:count].sqrt(), float(share[count - 1]))
