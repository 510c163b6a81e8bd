"""A surrogate's model as a module that traces into plain tensor operations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from opkit.errors import ExportError
from opkit.normalise import PhysicalModel
from opkit.operators.spectral_conv import SpectralConv
from opkit.operators.spectral_products import SpectralProducts


class OneStep(nn.Module):
    """Physical inputs to physical outputs, one frame where there is a history.

    Args:
        model: the operator between its normalisers.
    """

    def __init__(self, model: PhysicalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, beside: Tensor | None = None) -> Tensor:
        """Map (batch, [history,] channel, *space) to (batch, channel, *space)."""
        outputs: Tensor = self.model(inputs, beside)
        return outputs.select(1, 0) if self.model.history else outputs


def lower(model: PhysicalModel, example: tuple[Tensor, ...]) -> OneStep:
    """Return a copy of a model whose spectral layers are real matrix products.

    Args:
        model: the model, which stays as it is.
        example: inputs on the grid that the copy is for.

    Raises:
        ExportError: a spectral layer that works on several grids.
        OpkitInputError: a spectral layer that has no such form.
    """
    # state of a training run, such as gradients, is not part of the copy
    module = OneStep(copy.deepcopy(model)).eval().requires_grad_(False)
    grids = _grids(module, example)
    for name, (grid, target) in grids.items():
        layer = module.get_submodule(name)
        assert isinstance(layer, SpectralConv)
        module.set_submodule(name, SpectralProducts(layer, grid, target))
    for part in module.modules():
        # code may branch on a number: it is part of the program, not of the data
        for name, buffer in list(part.named_buffers(recurse=False)):
            if buffer.ndim == 0:
                value = buffer.item()
                delattr(part, name)
                setattr(part, name, value)
    with torch.no_grad():
        module(*example)  # constants that the operators cache are made outside a trace
    return module


def _grids(
    module: nn.Module, example: tuple[Tensor, ...]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Run once; return each spectral layer's grids of input and output."""
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, SpectralConv):

            def note(_: Any, inputs: Any, output: Tensor, name: str = name) -> None:
                pair = (tuple(inputs[0].shape[2:]), tuple(output.shape[2:]))
                if found.setdefault(name, pair) != pair:
                    raise ExportError(f"{name} works on several grids: not exported")

            handles.append(layer.register_forward_hook(note))
    with torch.no_grad():
        module(*example)
    for handle in handles:
        handle.remove()
    return found
