"""Devices by name, looked at before anything is sent there."""

from __future__ import annotations

import torch

from opkit.errors import OpkitInputError


def present(name: str | torch.device) -> torch.device:
    """Return the device of a name, if this machine has it.

    Raises:
        OpkitInputError: no device has this name, or it is not here.
    """
    try:
        device = torch.device(name)
        here = device.type != "meta"
        if here:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        here = False
    if not here:
        others = " or cuda" if torch.cuda.is_available() else ", no GPU is found here"
        raise OpkitInputError(f"device {str(name)!r}: choose cpu{others}")
    return device
