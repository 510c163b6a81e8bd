"""Checkpoints: the whole state of training in one safetensors file and a manifest.

A checkpoint is written beside the old one; ``manifest.json``, replaced last, names the
valid file with its SHA-256. A kill at any moment leaves the old or the new state.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from opkit.base.files import read_regular, real, write_bytes
from opkit.errors import BundleError
from opkit.surrogate.bundle.files import from_real, to_real

FORMAT = 2
"""Since 2 the manifest has a SHA-256 of itself."""
MANIFEST = "manifest.json"
_EPOCH = re.compile(r"epoch-\d{6,}\.safetensors")


def save(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Write a checkpoint and remove the ones before it.

    Args:
        folder: the run's ``checkpoints/``.
        epoch: finished epochs.
        state: nested dicts and lists of tensors, numbers, texts and None.

    Raises:
        BundleError: the folder is a link.
    """
    if folder.is_symlink():  # of others, who would have files there replaced
        raise BundleError(f"{folder}: is a link: put the folder itself there")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    plain = _take_tensors(state, "", tensors)
    real, names = to_real(tensors)
    data = safetensors.torch.save(real)
    name = f"epoch-{epoch:06d}.safetensors"
    write_bytes(folder / name, data)
    manifest = {
        "format_version": FORMAT,
        "file": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "epoch": epoch,
        "complex_tensors": names,
        "state": plain,
    }
    manifest["manifest_sha256"] = _digest(manifest)
    write_bytes(folder / MANIFEST, json.dumps(manifest).encode())
    for old in folder.iterdir():
        if _EPOCH.fullmatch(old.name) and old.name != name:
            old.unlink()


def load(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Read the checkpoint of a run: finished epochs and state; None if there is none.

    Raises:
        BundleError: damaged, or of a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(read_regular(path))
        if manifest["format_version"] > FORMAT:
            raise BundleError(f"{path}: written by a newer opkit; upgrade to resume")
        claimed = manifest.pop("manifest_sha256", None)
        if manifest["format_version"] > 1 and claimed != _digest(manifest):
            raise BundleError(f"{path}: damaged (SHA-256 differs); start a new run")
        if not real(folder / manifest["file"]).parent.samefile(folder):
            raise BundleError(f"{path}: names a file outside its folder")
        data = read_regular(folder / manifest["file"])
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise BundleError(
                f"{folder / manifest['file']}: damaged (SHA-256 differs); "
                "start a new run"
            )
        names = tuple(manifest["complex_tensors"])
        tensors = from_real(safetensors.torch.load(data), names)
        return int(manifest["epoch"]), _put_tensors(manifest["state"], tensors)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        SafetensorError,
    ) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{path}: damaged ({type(error).__name__}: {error}); start a new run"
        ) from None


def _digest(manifest: dict[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def finished(folder: Path) -> int:
    """Return how many epochs the checkpoint of a run holds, without reading it."""
    try:
        epoch = json.loads(read_regular(folder / MANIFEST))["epoch"]
        return epoch if isinstance(epoch, int) and epoch > 0 else 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0


def _take_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        items = [
            [key, _take_tensors(item, f"{path}/{key}", tensors)]
            for key, item in value.items()
        ]
        return {"dict": items}  # keys of optimisers are integers: not JSON's dict
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {
            kind: [
                _take_tensors(v, f"{path}/{i}", tensors) for i, v in enumerate(value)
            ]
        }
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"{path}: cannot be stored in a checkpoint: {type(value).__name__}")


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_tensors(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        items = [_put_tensors(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "value":
        return content
    raise ValueError(f"unknown kind {kind!r}")
