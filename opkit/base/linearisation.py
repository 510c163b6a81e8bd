"""Products with the Jacobian of a function, by derivatives backwards alone.

    J v = ∂/∂w [(Jᵀ w) · v]

since Jᵀ w is linear in w. PyTorch lacks forward derivatives of operators with functions
of their own (`torch.autograd.Function`) or with tables of neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Linearisation:
    """The linearisation of y = f(x) at x: y, and products with J = ∂y/∂x.

    Args:
        function: f, of tensors to a tuple of tensors. What it does not depend on has
            derivative 0.
        x: its arguments.
        second: whether the products themselves are differentiated.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        x: Sequence[Tensor],
        second: bool = False,
    ) -> None:
        self.second = second
        with torch.enable_grad():
            self.x = [one.detach().requires_grad_(True) for one in x]
            self.outputs = function(*self.x)

    def vjp(self, w: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return Jᵀ w for each argument, w one for each output."""
        return self._back(self.outputs, self.x, w, self.second)

    def jvp(self, v: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return J v for each output, v one for each argument."""
        w = [torch.zeros_like(output, requires_grad=True) for output in self.outputs]
        back = self._back(self.outputs, self.x, w, True)
        pairs = [(b, one) for b, one in zip(back, v, strict=True) if b.requires_grad]
        if not pairs:
            return tuple(torch.zeros_like(output) for output in self.outputs)
        slopes, along = zip(*pairs, strict=True)
        return self._back(slopes, w, along, self.second)

    @staticmethod
    def _back(
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        weights: Sequence[Tensor],
        graph: bool,
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return torch.autograd.grad(
                outputs,
                inputs,
                weights,
                retain_graph=True,
                create_graph=graph,
                materialize_grads=True,
            )
