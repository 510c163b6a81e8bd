"""Which backend runs, and why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch

from opkit.errors import OpkitInputError, nearest

BACKENDS = ("reference", "cpu", "triton")
COMPATS = (None, "neuralop-2.0")
VARIABLE = "OPKIT_SPECTRAL_BACKEND"


WITHOUT_TRITON = 'triton is not installed (python -m pip install "opkit[kernels]")'
_warned: set[str] = set()


class Choice(NamedTuple):
    """A backend and the reason it was chosen."""

    name: str
    reason: str


class DeviceChoice(NamedTuple):
    """The backend of float32 fields on a device, and the reason."""

    device: str
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

    Args:
        device: where the field is.
        dtype: of the arithmetic, float32 or float64.
        modes: number of modes along each axis, the last of the real transform.
        in_shape: grid of the field.
        out_shape: grid of the result.
        compat: see `spectral_conv`.
        backend: ``reference``, ``cpu``, ``triton``, or None.

    Raises:
        OpkitInputError: the backend asked for does not exist or cannot do this.
    """
    requested = backend or os.environ.get(VARIABLE) or None
    origin = "the argument backend" if backend else VARIABLE
    if requested is not None and requested not in BACKENDS:
        raise OpkitInputError(
            f"{origin}: backend {requested!r} is unknown."
            f"{nearest(requested, BACKENDS)} Use one of {', '.join(BACKENDS)}"
        )
    choice = _fastest(device, dtype, modes, in_shape, out_shape, compat)
    if requested is None or requested == choice.name:
        return choice
    obstacle = None
    if requested != "reference":
        obstacle = _displaced(in_shape, out_shape, compat)
    if requested == "cpu" and device.type != "cpu":
        obstacle = f"the field is on {device}"
    if requested == "triton":
        obstacle = obstacle or _no_triton(device, dtype)
    if obstacle:
        raise OpkitInputError(
            f"{origin} asks for {requested}, but {obstacle}: use reference, or none"
        )
    return Choice(requested, f"asked for by {origin}")


def _fastest(
    device: torch.device,
    dtype: torch.dtype,
    modes: Sequence[int],
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    compat: str | None,
) -> Choice:
    displaced = _displaced(in_shape, out_shape, compat)
    if displaced:
        return Choice("reference", displaced)
    if device.type == "cpu":
        return Choice("cpu", "matrix products beat full-size transforms on a CPU")
    obstacle = _no_triton(device, dtype)
    if obstacle:
        return Choice("reference", obstacle)
    if 4 * modes[-1] > min(in_shape[-1], out_shape[-1]):
        return Choice("reference", "so many modes that full-size transforms are faster")
    return Choice("triton", "truncated transforms on the GPU")


def _displaced(
    in_shape: Sequence[int], out_shape: Sequence[int], compat: str | None
) -> str:
    if compat is None or len(in_shape) == 1:
        return ""
    odd = any(size % 2 for size in in_shape[:-1])
    if odd or list(in_shape) != list(out_shape):
        return f"compat={compat} displaces modes on this grid"
    return ""


def _no_triton(device: torch.device, dtype: torch.dtype) -> str:
    if dtype != torch.float32:
        return "the Triton kernels compute in float32"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return ""
    if device.type != "cuda":
        return f"the Triton kernels need a CUDA device, not {device.type}"
    if find_spec("triton") is None:
        _warn_without_triton()
        return WITHOUT_TRITON
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"the GPU has compute capability {major}.{minor}, below 8.0"
    return ""


def _warn_without_triton() -> None:
    if not _warned:
        _warned.add(WITHOUT_TRITON)
        warnings.warn(
            f"spectral convolutions on the GPU run by torch.fft: {WITHOUT_TRITON}",
            stacklevel=2,
        )


def describe() -> list[DeviceChoice]:
    """Say for each kind of device which backend float32 fields run on, and why.

    Loads neither triton nor a CUDA context.
    """
    example = (torch.float32, [24, 13], [64, 64], [64, 64])
    rows = [DeviceChoice("cpu", *choose_backend(torch.device("cpu"), *example))]
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        rows.append(DeviceChoice(str(device), *choose_backend(device, *example)))
    return rows
