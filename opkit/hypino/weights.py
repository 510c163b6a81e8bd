"""Weights of HyPINO as one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from opkit.errors import BundleError
from opkit.operators.hypino.network import PRESETS, HyPINO, HyPINOOptions
from opkit.surrogate.bundle.files import HYPERNETWORK

if TYPE_CHECKING:
    pass

SHIPPED = Path(__file__).parent / "hypino-tiny.safetensors"
"""Weights that come with opkit."""


def save(model: HyPINO, path: Path, card: dict[str, Any] | None = None) -> None:
    """Write a model as one safetensors file, options and card in its header."""
    metadata = {
        "options": model.options.model_dump_json(),
        "card": json.dumps(card or {}),
    }
    save_file(model.state_dict(), path, metadata)


def load(path: str | Path) -> HyPINO:
    """Read a model written by `save`, or name a preset to get it untrained.

    Args:
        path: file, run directory, or preset.

    Raises:
        BundleError: not such a file, or damaged.
    """
    if path in PRESETS:
        return HyPINO(PRESETS[path])
    found = Path(path) / "bundle" / HYPERNETWORK
    try:
        with safe_open(found if found.exists() else path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = HyPINO(HyPINOOptions.model_validate_json(metadata["options"]))
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not a HyPINO file ({line})") from None
    return model.eval()
