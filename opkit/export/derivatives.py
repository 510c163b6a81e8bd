"""Products with the Jacobian of a surrogate, as programs of plain tensor operations.

    jvp: (x, v) -> N'(x) v,    vjp: (x, w) -> N'(x)ᵀ w,

traced through PyTorch's own derivatives of the program that is exported; of outputs of
several kinds there is a product, and a w, for each. They take as many samples as were
traced: one, or the batch that was fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from opkit.base.linearisation import Linearisation
from opkit.errors import ExportError
from opkit.export.targets import first_line, several, silent

Function = Callable[..., tuple[Tensor, ...]]
"""Inputs to outputs, one of each kind."""


def jvp(function: Function, count: int) -> Function:
    """Return (inputs, directions) -> N' v, forwards where PyTorch can.

    Args:
        function: N.
        count: number of its inputs.
    """

    def product(*tensors: Tensor) -> tuple[Tensor, ...]:
        products: tuple[Tensor, ...]
        products = torch.func.jvp(function, tensors[:count], tensors[count:])[1]
        return products

    return product


def jvp_backwards(function: Function, count: int) -> Function:
    """Return the same by two products with the transposed Jacobian."""

    def product(*tensors: Tensor) -> tuple[Tensor, ...]:
        return Linearisation(function, tensors[:count]).jvp(tensors[count:])

    return product


def vjp(function: Function, count: int) -> Function:
    """Return (inputs, weights of the outputs) -> gradients of the inputs."""

    def product(*tensors: Tensor) -> tuple[Tensor, ...]:
        return Linearisation(function, tensors[:count]).vjp(tensors[count:])

    return product


FORMS: dict[str, tuple[Callable[[Function, int], Function], ...]] = {
    "jvp": (jvp, jvp_backwards),
    "vjp": (vjp,),
}
"""By program the ways to compute it, in the order they are tried."""


def directions(
    name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return what is given beside the inputs, of the size of what it stands for."""
    torch.manual_seed(0)
    like = inputs if name == "jvp" else outputs
    return tuple(torch.randn_like(tensor) for tensor in like)


def derivative_program(
    name: str, operator: str, module: nn.Module, inputs: tuple[Tensor, ...]
) -> ExportedProgram:
    """Trace a product with the Jacobian.

    Args:
        name: ``"jvp"`` or ``"vjp"``.
        operator: for messages.
        module: what is exported, without gradients of its weights.
        inputs: as many samples as the program shall take.

    Raises:
        ExportError: PyTorch has no derivative of something in it.
    """
    try:
        with silent(), torch.no_grad():
            outputs = several(module(*inputs))
            # plain operations first: code of an operator's own, with loops and
            # autograd functions, is behind it
            plain = torch.export.export(module, inputs).module(check_guards=False)
    except Exception as error:  # the tracer raises whatever the operator's code met
        raise _cannot(operator, name, error) from error
    tensors = (*inputs, *directions(name, inputs, outputs))
    fault: Exception | None = None

    def whole(*x: Tensor) -> tuple[Tensor, ...]:
        return several(plain(*x))

    for form in FORMS[name]:
        try:
            with silent():
                traced = make_fx(form(whole, len(inputs)))(*tensors)
            _with_zeros(traced)
            with silent(), torch.no_grad():
                return torch.export.export(traced, tensors)
        except Exception as error:  # as above
            fault = fault or error
    assert fault is not None
    raise _cannot(operator, name, fault) from fault


def _with_zeros(traced: GraphModule) -> None:
    """Give constants that stand for zeros the memory that a file needs.

    A forward derivative of what does not depend on the inputs is such a constant.
    """
    for node in traced.graph.find_nodes(op="get_attr"):
        value = getattr(traced, str(node.target))
        if isinstance(value, Tensor) and value._is_zerotensor():
            zeros = torch.zeros(value.shape, dtype=value.dtype, device=value.device)
            setattr(traced, str(node.target), zeros)


def _cannot(operator: str, name: str, error: Exception) -> ExportError:
    return ExportError(
        f"operator {operator} has no program {name}: PyTorch cannot trace its "
        f"derivative ({first_line(error)}); export without derivatives"
    )
