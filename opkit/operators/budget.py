"""Bounds on what a model asks for while it is built: numbers, parameters, counts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

LARGEST = 1 << 20
"""A count in the options, such as that of layers, that any model may have."""
SIZED = {
    torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full,
    torch.eye, torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones,
    torch.Tensor.new_full,
}  # fmt: skip
"""What makes a tensor of a size."""
COPIES = 4
"""Of the weights while they are trained: with gradients, and two of the optimiser."""


class TooMuch(Exception):
    """A model asks for more than it may."""


@contextmanager
def at_most(numbers: int, parameters: int) -> Iterator[None]:
    """Stop the construction of a model that asks for more, before memory is taken.

    Args:
        numbers: of all tensors together.
        parameters: that its modules register.

    Raises:
        TooMuch: a tensor or a parameter goes beyond, or memory is out.
    """
    left = parameters

    def note(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooMuch

    handle = register_module_parameter_registration_hook(note)
    try:
        with _Budget(numbers):
            yield
    except (MemoryError, OverflowError) as error:
        raise TooMuch from error
    finally:
        handle.remove()


class _Budget(TorchFunctionMode):
    """Refuse tensors that ask for more numbers than a budget allows."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self._left = numbers

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at the size that is asked for, then do what is asked."""
        if func in SIZED:
            sizes = args[1:] if isinstance(next(iter(args), None), Tensor) else args
            self._left -= _numbers(sizes or (kwargs or {}).get("size", ()))
            if self._left < 0:
                raise TooMuch
        return func(*args, **(kwargs or {}))


def largest(options: Any) -> int:
    """Return the largest integer in nested options, but for seeds."""
    if isinstance(options, Mapping):
        return max((largest(v) for k, v in options.items() if k != "seed"), default=0)
    if isinstance(options, list | tuple):
        return max(map(largest, options), default=0)
    if isinstance(options, float):  # which stands for an integer where one is asked
        return int(options) if options.is_integer() else 0
    return options if isinstance(options, int) else 0


def trainable_numbers() -> int:
    """Return how many weights the memory of this machine can train."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return memory // (4 * COPIES)  # bytes of float32


def _numbers(size: Any) -> int:
    """Product of the integers of a size, given as numbers or in one sequence."""
    first = next(iter(size), 1)
    sizes = first if isinstance(first, (tuple, list)) else size
    return math.prod(n for n in sizes if isinstance(n, int) and n > 0)
