"""Which backend runs, and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch

from opkit.errors import OpkitInputError, nearest

BACKENDS = ("reference", "cpu", "triton")
COMPATS = (None, "neuralop-2.0")
VARIABLE = "OPKIT_SPECTRAL_BACKEND"


class Choice(NamedTuple):
    """A backend and the reason it was chosen."""

    name: str
    reason: str


def choose_backend(
    device: torch.device,
    dtype: torch.dtype,
    modes: Sequence[int],
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    compat: str | None = None,
    backend: str | None = None,
) -> Choice:
    """Choose the backend of a spectral convolution.

    In order: the argument ``backend``, the environment variable
    OPKIT_SPECTRAL_BACKEND, the fastest one that can do it.

    Raises:
        OpkitInputError: the backend asked for does not exist or cannot do this.
    """
    displaced = compat is not None and (
        any(size % 2 for size in in_shape[:-1])
        or (len(in_shape) > 1 and list(in_shape) != list(out_shape))
    )
    asked = backend or os.environ.get(VARIABLE) or None
    origin = "the argument backend" if backend else VARIABLE
    if asked is not None and asked not in BACKENDS:
        raise OpkitInputError(
            f"{origin}: backend {asked!r} is unknown.{nearest(asked, BACKENDS)} "
            f"Use one of {', '.join(BACKENDS)}"
        )
    if displaced:
        if asked not in (None, "reference"):
            raise OpkitInputError(
                f"{origin} asks for {asked}, but compat={compat!r} at the size "
                f"{tuple(in_shape)} runs on the backend reference only"
            )
        return Choice("reference", f"compat={compat} displaces modes at this size")
    if asked is not None:
        if asked == "cpu" and device.type != "cpu":
            raise OpkitInputError(
                f"{origin} asks for cpu, but the field is on {device}: "
                "move it with .cpu(), or use reference"
            )
        return Choice(asked, f"asked for by {origin}")
    if device.type == "cpu":
        return Choice("cpu", "matrix products beat transforms of full size on a CPU")
    return Choice("reference", f"no kernel for {device.type}")
