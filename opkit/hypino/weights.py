"""Weights of HyPINO as one safetensors file that is checked when it is read.

The header carries a SHA-256 of the options and of every tensor's name, type, shape and
numbers, so that a damaged file is refused. Files from before it had one are held to
finite numbers and to the shapes their options ask for, as all are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opkit.base.forks import watch_forks
from opkit.errors import BundleError
from opkit.operators.hypino.network import PRESETS, HyPINO, HyPINOOptions
from opkit.surrogate.bundle.files import HYPERNETWORK

SHIPPED = Path(__file__).parent / "hypino-tiny.safetensors"
"""Weights that come with opkit."""


def save(model: HyPINO, path: Path, card: dict[str, Any] | None = None) -> None:
    """Write a model as one safetensors file; options, card, checksum in its header."""
    options = model.options.model_dump_json()
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    metadata = {
        "options": options,
        "card": json.dumps(card or {}),
        "sha256": digest(options, tensors),
    }
    save_file(tensors, path, metadata)


def digest(options: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of options and tensors, whatever the order they are stored in."""
    sha = hashlib.sha256(options.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def load(path: str | Path) -> HyPINO:
    """Read a model written by `save`, or name a preset to get it untrained.

    Args:
        path: file, run directory, or preset.

    Raises:
        BundleError: not such a file, or damaged.
    """
    watch_forks()
    if path in PRESETS:
        return HyPINO(PRESETS[path])
    source = Path(path) / "bundle" / HYPERNETWORK
    source = source if source.is_file() else Path(path)
    try:
        if not source.is_file():
            raise ValueError("no regular file")
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        options = metadata["options"]
        if metadata.get("sha256", digest(options, tensors)) != digest(options, tensors):
            raise ValueError("damaged: its checksum differs")
        model = _build(HyPINOOptions.model_validate_json(options), tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not a HyPINO file ({line})") from None
    return model.eval()


def _build(options: HyPINOOptions, tensors: dict[str, Tensor]) -> HyPINO:
    """A model with these weights, once their shapes and numbers are found right.

    Raises:
        ValueError: names the tensor at fault.
    """
    if sum(options.depths) + options.target_layers > len(tensors):
        raise ValueError("its options ask for more layers than it has tensors")
    # Meta tensors take no memory, whatever sizes a foreign file asks for; importing
    # what they need takes a second, and the presets are of known sizes.
    preset = options in PRESETS.values()
    with torch.device("cpu" if preset else "meta"):
        model = HyPINO(options)
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    if shapes.keys() != tensors.keys():
        odd = sorted(shapes.keys() ^ tensors.keys())[0]
        raise ValueError(f"tensor {odd!r} is missing or unknown")
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise ValueError(f"tensor {name!r} is not of the shape its options ask for")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"tensor {name!r} holds numbers that are not finite")
    if not preset:
        model = HyPINO(options)
    model.load_state_dict(tensors)
    return model
