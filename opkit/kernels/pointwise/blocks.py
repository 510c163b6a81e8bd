"""The pointwise part of a Fourier layer in blocks of points that stay in the cache.

    mlp(x) = W₂ σ(W₁ x + b₁) + b₂,      rest(u, v) = σ(mlp(σ(u)) + g ⊙ v),  u = y + W v

Between the field that comes in and the one that goes out nothing is written to memory
but u, which the backward pass needs; it recomputes the rest block by block, and sums
the gradients of the weights on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from opkit.kernels.buffers import empty

_BLOCK_BYTES = 2**20
"""Of one block of a field of the layer's width: a few such blocks fit in a cache."""
_gelu = torch.ops.aten.gelu.out
_gelu_backward = torch.ops.aten.gelu_backward.grad_input


class Mlp(NamedTuple):
    """Parameters of W₂ σ(W₁ x + b₁) + b₂, matrices as (out, in)."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor


class Act(NamedTuple):
    """Whether GELU is applied to u, and to the result."""

    u: bool
    z: bool


def plain_mlp(x: Tensor, p: Mlp) -> Tensor:
    """W₂ σ(W₁ x + b₁) + b₂, whole field by whole field."""
    # in this order of memory the gradient of a narrow weight is a fast product
    first, second = p.first.T.contiguous(), p.second.T.contiguous()
    hidden = F.gelu(torch.addmm(p.first_bias, x, first))
    return torch.addmm(p.second_bias, hidden, second)


def plain_rest(u: Tensor, v: Tensor, gate: Tensor, act: Act, p: Mlp) -> Tensor:
    """σ(mlp(σ(u)) + g ⊙ v), whole field by whole field."""
    z = torch.addcmul(plain_mlp(F.gelu(u) if act.u else u, p), v, gate)
    return F.gelu(z) if act.z else z


class _Blocks:
    """Slices of points, and one block's buffers by name."""

    def __init__(self, x: Tensor, p: Mlp) -> None:
        widest = max(x.shape[1], *p.first.shape, *p.second.shape)
        self.like, self.points = x, len(x)
        self.size = max(1, _BLOCK_BYTES // (x.element_size() * widest))
        self.buffers: dict[str, Tensor] = {}

    def __iter__(self) -> Iterator[slice]:
        return (slice(i, i + self.size) for i in range(0, self.points, self.size))

    def __call__(self, name: str, points: int, channels: int) -> Tensor:
        """Return room for ``points`` rows, the same at every block."""
        if name not in self.buffers:
            rows = min(self.size, self.points)
            self.buffers[name] = self.like.new_empty(rows, channels)
        return self.buffers[name][:points]


def _hidden(x: Tensor, p: Mlp, room: _Blocks) -> tuple[Tensor, Tensor]:
    """W₁ x + b₁ of one block, and its GELU."""
    width = len(p.first)
    before = room("before", len(x), width)
    torch.addmm(p.first_bias, x, p.first.T, out=before)
    return before, _gelu(before, out=room("after", len(x), width))


def mlp(x: Tensor, p: Mlp) -> Tensor:
    """W₂ σ(W₁ x + b₁) + b₂, block by block."""
    room, out = _Blocks(x, p), empty((len(x), len(p.second)), x)
    for b in room:
        _, after = _hidden(x[b], p, room)
        torch.addmm(p.second_bias, after, p.second.T, out=out[b])
    return out


def _outer(after: Tensor, v: Tensor, gate: Tensor, p: Mlp, out: Tensor) -> Tensor:
    """W₂ h + b₂ + g ⊙ v of one block."""
    return torch.addmm(p.second_bias, after, p.second.T, out=out).addcmul_(v, gate)


def layer(
    y: Tensor, v: Tensor, skip: Tensor, gate: Tensor, act: Act, p: Mlp,
    keep: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """σ(mlp(σ(u)) + g ⊙ v) block by block, u written to ``keep`` where given."""
    room, out = _Blocks(v, p), empty(v.shape, v)
    for b in room:
        shape = v[b].shape
        u = torch.addmm(
            y[b], v[b], skip.T, out=room("u", *shape) if keep is None else keep[b]
        )
        inner = _gelu(u, out=room("inner", *shape)) if act.u else u
        _, after = _hidden(inner, p, room)
        z = _outer(after, v[b], gate, p, out[b])
        if act.z:
            _gelu(z, out=z)
    return out


def _zeros(parameter: Tensor) -> Tensor:
    """Zeros of this shape, the longer side of a matrix in consecutive memory.

    The product that sums the gradient of a narrow matrix is several times faster so.
    """
    if parameter.ndim == 2 and parameter.shape[0] > parameter.shape[1]:
        return parameter.new_zeros(parameter.shape[::-1]).T
    return parameter.new_zeros(parameter.shape)


class _MlpGradients:
    """Sums over blocks of the gradients of an MLP's parameters."""

    def __init__(self, p: Mlp, room: _Blocks) -> None:
        self.p, self.room = p, room
        self.sums = Mlp(*map(_zeros, p))

    def add(self, grad: Tensor, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Add one block's; return the gradient of W₁ x + b₁."""
        sums = self.sums
        sums.second.addmm_(grad.T, after)
        sums.second_bias.add_(grad.sum(0))
        hidden = torch.mm(grad, self.p.second, out=self.room("hidden", *before.shape))
        _gelu_backward(hidden, before, grad_input=hidden)
        sums.first.addmm_(hidden.T, x)
        sums.first_bias.add_(hidden.sum(0))
        return hidden


class MlpFunction(torch.autograd.Function):
    """`mlp` with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        """Keep the input alone."""
        ctx.save_for_backward(x, *parameters)
        return mlp(x, Mlp(*parameters))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Recompute the hidden layer block by block."""
        x, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(lambda x, *p: plain_mlp(x, Mlp(*p)), (x, *parameters), grad)
        p = Mlp(*parameters)
        room = _Blocks(x, p)
        total = _MlpGradients(p, room)
        x_grad = empty(x.shape, x) if ctx.needs_input_grad[0] else None
        for b in room:
            hidden = total.add(grad[b], x[b], *_hidden(x[b], p, room))
            if x_grad is not None:
                torch.mm(hidden, p.first, out=x_grad[b])
        return x_grad, *total.sums


class LayerFunction(torch.autograd.Function):
    """`layer` with its gradient.

    Returns u beside the result, so that the gradient can be differentiated in it.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, v: Tensor, skip: Tensor, gate: Tensor, act: Act,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Keep u and v."""
        u = empty(v.shape, v)
        out = layer(y, v, skip, gate, act, Mlp(*parameters), keep=u)
        ctx.act = act
        ctx.save_for_backward(u, v, skip, gate, *parameters)
        ctx.set_materialize_grads(False)
        return out, u

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, u_grad: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Recompute all but u block by block."""
        if grad is None or u_grad is not None or torch.is_grad_enabled():
            return _layer_again(ctx, grad, u_grad)
        u, v, skip, gate, *parameters = ctx.saved_tensors
        p = Mlp(*parameters)
        room = _Blocks(v, p)
        total = _MlpGradients(p, room)
        skip_grad, gate_grad = _zeros(skip), _zeros(gate)
        u_grad, v_grad = empty(v.shape, v), empty(v.shape, v)
        for b in room:
            shape = v[b].shape
            inner = _gelu(u[b], out=room("inner", *shape)) if ctx.act.u else u[b]
            before, after = _hidden(inner, p, room)
            z, z_grad = room("z", *shape), grad[b]
            if ctx.act.z:
                _outer(after, v[b], gate, p, z)
                z_grad = _gelu_backward(z_grad, z, grad_input=z)
            hidden = total.add(z_grad, inner, before, after)
            inner_grad = torch.mm(hidden, p.first, out=u_grad[b])
            if ctx.act.u:
                _gelu_backward(inner_grad, u[b], grad_input=inner_grad)
            torch.mul(z_grad, gate, out=v_grad[b]).addmm_(u_grad[b], skip)
            gate_grad.add_(torch.mul(z_grad, v[b], out=z).sum(0))
            skip_grad.addmm_(u_grad[b].T, v[b])
        return u_grad, v_grad, skip_grad, gate_grad, None, *total.sums


def _again(
    function: Callable[..., Tensor], tensors: Sequence[Tensor], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of ``function`` at ``tensors`` with a graph of their own."""
    with torch.enable_grad():
        aliases = [tensor.view_as(tensor) for tensor in tensors]
        differentiable = [tensor for tensor in aliases if tensor.requires_grad]
        value = function(*aliases)
    graph = torch.is_grad_enabled()
    gradients = iter(
        torch.autograd.grad(value, differentiable, grad, create_graph=graph)
    )
    return tuple(next(gradients) if alias.requires_grad else None for alias in aliases)


def _layer_again(
    ctx: Any, grad: Tensor | None, direct: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Gradients with a graph, also of u itself, whose gradient is ``direct``."""
    u, v, skip, *parameters = ctx.saved_tensors
    if grad is None:
        parts: list[Tensor | None] = [None] * 7
    else:
        parts = list(
            _again(
                lambda u, v, gate, *p: plain_rest(u, v, gate, ctx.act, Mlp(*p)),
                (u, v, *parameters),
                grad,
            )
        )
    u_grad, v_grad, gate_grad, *others = parts
    u_grad = _sum(u_grad, direct)
    if u_grad is None:
        return (None,) * 9
    return (
        u_grad,
        _sum(v_grad, u_grad @ skip),
        u_grad.T @ v,
        gate_grad,
        None,
        *others,
    )


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return a if b is None else b
    return a + b
