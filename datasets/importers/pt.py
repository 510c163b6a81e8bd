"""PyTorch's .pt with a dict of tensors, as neuraloperator publishes its data."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.importers.source import (
    LazyArray,
    Source,
    check_expansion,
    fault_of,
    in_memory,
    unreadable,
)
from opkit.errors import DataError

if TYPE_CHECKING:
    import torch

OVERLAP = 64 << 20  # bytes of a tensor whose elements may share places in the file
PIECE = 1 << 20
TAKEN = {
    "float16", "bfloat16", "float32", "float64", "bool", "int8", "int16", "int32",
    "int64", "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip


def open_source(path: Path) -> Source:
    """Open a .pt; only tensors are read, nothing in it is executed.

    Raises:
        DataError: not a dict of tensors, not readable without executing code, or a
            record that is damaged.
    """
    import torch

    try:
        archived = zipfile.is_zipfile(path)
        if archived:
            _check_records(path)
        with warnings.catch_warnings(action="ignore"):  # about old pickle protocols
            data = torch.load(
                path, map_location="cpu", weights_only=True, mmap=archived
            )
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: holds more than tensors, which would mean to execute code: "
            "save a dict of tensors"
        ) from error
    except DataError:
        raise
    except Exception as error:  # torch raises what it stumbles over
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
        elif reason := _fault(value):
            refused[str(name)] = reason
        else:
            arrays[str(name)] = _lazy(value.detach())
    return Source(arrays, refused=refused)


def _check_records(path: Path) -> None:
    """Read every record once and compare its checksum, which torch leaves out.

    Raises:
        DataError: one is damaged, or compressed, which torch does not do.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            check_expansion(path, entry.filename, entry.compress_size, entry.file_size)
            try:
                with archive.open(entry) as record:
                    while record.read(PIECE):
                        pass
            except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
                raise DataError(
                    f"{path}: record {entry.filename} is damaged (checksum): copy the "
                    "file again, or save it again by torch.save"
                ) from error


def _fault(value: torch.Tensor) -> str:
    """Why a tensor is not taken; empty where it is."""
    import torch

    if value.is_complex():
        return fault_of(np.dtype(complex))
    if value.is_meta:
        return "is a tensor without values (device meta): save one with values"
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "is a sparse, nested or quantized tensor: save value.to_dense()"
    size = value.numel() * value.element_size()
    held = value.untyped_storage().nbytes()
    if size > max(held, OVERLAP):
        return (
            f"declares {size} bytes and its storage holds {held}, by strides that "
            "repeat values: save value.clone()"
        )
    if str(value.dtype).removeprefix("torch.") not in TAKEN:
        return f"has elements of type {value.dtype}: save value.float()"
    return ""


def _lazy(tensor: torch.Tensor) -> LazyArray:
    import torch

    if tensor.dtype != torch.bfloat16:
        return in_memory(tensor.resolve_neg().numpy())

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        part: NDArray[Any] = tensor[index].float().numpy()
        return part

    return LazyArray(tuple(tensor.shape), np.dtype(np.float32), read)
