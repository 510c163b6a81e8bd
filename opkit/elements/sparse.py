"""Fixed sparse matrices in torch: a product, its gradient, nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PARTS = ("rows", "columns", "values")


with warnings.catch_warnings():
    # torch says once that CSR "is in beta state"; products of CSR with dense are all
    # that is used here
    warnings.simplefilter("ignore", UserWarning)
    torch.zeros(1, 1).to_sparse_csr()


def csr_tensor(matrix: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a scipy sparse matrix as a torch sparse CSR tensor."""
    rows, columns, values = _arrays(matrix, dtype)
    return torch.sparse_csr_tensor(
        rows, columns, values, matrix.shape, check_invariants=False
    )


class SparseMatrix(nn.Module):
    """A sparse matrix A that is not trained, as x ↦ A x for dense (column, ...) x.

    A and its transpose are kept as CSR, so that the gradient A^T g costs what the
    product costs. Their arrays are buffers which travel with the module to its device
    and are not stored with its weights. Products are made in float32 or float64
    whatever autocast says.

    Args:
        matrix: scipy sparse matrix (row, column).
        dtype: of its numbers.
    """

    def __init__(self, matrix: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape: tuple[int, int] = tuple(matrix.shape)
        for name, factor in (("own", matrix), ("turned", matrix.T)):
            for part, array in zip(PARTS, _arrays(factor, dtype), strict=True):
                self.register_buffer(f"{name}_{part}", array, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return A x, (column, ...) to (row, ...)."""
        own, turned = (self._parts(name) for name in ("own", "turned"))
        if not x.numel():  # not every library of sparse matrices takes none
            none = x[:1].to(own[2].dtype)
            return none.expand(self.shape[0], *x.shape[1:])
        flat = x.reshape(x.shape[0], -1).to(own[2].dtype)
        product: Tensor = _Product.apply(flat, self.shape, *own, *turned)
        return product.view(-1, *x.shape[1:])

    def _parts(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns, values = (getattr(self, f"{name}_{part}") for part in PARTS)
        return rows, columns, values


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: tuple[int, int], *parts: Tensor) -> Tensor:
        ctx.shape = shape
        ctx.save_for_backward(*parts[3:])
        return _multiply(parts[:3], shape, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns = ctx.shape
        back = _multiply(ctx.saved_tensors, (columns, rows), gradient.contiguous())
        return back, None, *(None,) * 6


def _multiply(parts: tuple[Tensor, ...], shape: tuple[int, int], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        matrix = torch.sparse_csr_tensor(
            parts[0], parts[1], parts[2], shape, check_invariants=False
        )
        return matrix @ x


def _arrays(matrix: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    csr = matrix.tocsr()
    csr.sort_indices()
    return (
        torch.from_numpy(csr.indptr.astype(np.int64)),
        torch.from_numpy(csr.indices.astype(np.int64)),
        torch.from_numpy(csr.data.copy()).to(dtype),
    )
