"""PyTorch's .pt with a dict of tensors, as neuraloperator publishes its data."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

from opkit.datasets.importers.source import (
    LazyArray,
    Source,
    check_expansion,
    in_memory,
    unreadable,
)
from opkit.errors import DataError


def open_source(path: Path) -> Source:
    """Open a .pt; only tensors are read, nothing in it is executed.

    Raises:
        DataError: not a dict of tensors, or not readable without executing code.
    """
    import torch

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    name, packed = entry.filename, entry.compress_size
                    check_expansion(path, name, packed, entry.file_size)
        with warnings.catch_warnings(action="ignore"):  # about old pickle protocols
            data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: holds more than tensors, which would mean to execute code: "
            "save a dict of tensors"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise unreadable(path, error) from error
    if isinstance(data, torch.Tensor):
        data = {"tensor": data}
    if not isinstance(data, dict):
        raise DataError(f"{path}: holds a {type(data).__name__}, not a dict of tensors")
    arrays: dict[str, LazyArray] = {}
    for name, value in data.items():
        if isinstance(value, torch.Tensor) and not value.is_complex():
            tensor = value.detach()
            if tensor.dtype == torch.bfloat16:
                tensor = tensor.float()
            arrays[str(name)] = in_memory(tensor.numpy())
    return Source(arrays)
