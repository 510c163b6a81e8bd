"""PyTorch's .pt with a dict of tensors, as neuraloperator publishes its data."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np

from opkit.datasets.importers.source import (
    LazyArray,
    Source,
    check_expansion,
    fault_of,
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
    refused: dict[str, str] = {}
    for name, value in data.items():
        if not isinstance(value, torch.Tensor):
            refused[str(name)] = f"is a {type(value).__name__}, not a tensor"
        elif value.is_complex():
            refused[str(name)] = fault_of(np.dtype(complex))
        elif value.layout != torch.strided or value.is_quantized:
            refused[str(name)] = (
                "is a sparse or quantized tensor: save value.to_dense()"
            )
        else:
            tensor = value.detach()
            if tensor.dtype == torch.bfloat16:
                tensor = tensor.float()
            arrays[str(name)] = in_memory(tensor.numpy())
    return Source(arrays, refused=refused)
