"""A differentiable function that is cheap when eager and opaque when traced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Primitive:
    """One function of tensors with its gradient, registered as a PyTorch operator.

    Eager calls go through an autograd.Function, which costs a few microseconds; under
    torch.compile, torch.export and tensor subclasses they go through
    ``torch.ops.opkit.<name>``. Both share the implementation and the gradient.

    Args:
        name: name of the operator in the namespace opkit.
        kernel: implementation, annotated so that torch.library can infer its schema;
            returns a new tensor, and runs without autocast.
        fake: shape, type and strides of the result, from those of the arguments.
        setup: saves on ``ctx`` what the gradient needs, given (ctx, inputs, output).
        backward: gradients of all arguments, given (ctx, grad).
    """

    def __init__(
        self,
        name: str,
        kernel: Callable[..., Tensor],
        fake: Callable[..., Tensor],
        setup: Callable[[Any, tuple[Any, ...], Any], None],
        backward: Callable[..., tuple[Any, ...]],
    ) -> None:

        @functools.wraps(kernel)
        def run(*inputs: Any) -> Tensor:
            kind = inputs[0].device.type
            if not torch.is_autocast_enabled(kind):
                return kernel(*inputs)
            with torch.autocast(kind, enabled=False):
                return kernel(*inputs)

        self.op = torch.library.custom_op(f"opkit::{name}", run, mutates_args=())
        self.op.register_fake(fake)
        self.op.register_autograd(backward, setup_context=setup)
        self.kernel = run

        def forward(ctx: Any, *inputs: Any) -> Tensor:
            output = run(*inputs)
            setup(ctx, inputs, output)
            # autograd forbids writing into a view that a function made inside
            fresh: Tensor = torch.ops.aten._unsafe_view(output, output.shape)
            return fresh

        members = {
            "forward": staticmethod(forward),
            "backward": staticmethod(backward),
        }
        self.function: Any = type(name, (torch.autograd.Function,), members)

    def __call__(self, *inputs: Any) -> Tensor:
        """Apply the function."""
        if torch.compiler.is_compiling() or type(inputs[0]) not in (
            Tensor,
            nn.Parameter,
        ):
            traced: Tensor = self.op(*inputs)
            return traced
        if not torch.is_grad_enabled():
            return self.kernel(*inputs)
        result: Tensor = self.function.apply(*inputs)
        return result
