"""Small pictures of fields without a library of figures, for notebooks."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 128
"""Largest number of points that are drawn along each axis; a stride leaves others."""
LEAST, THINNEST = 4, 8
"""Fewer points along an axis, or longer by this factor along one: no picture."""
STOPS = ("440154", "3e4989", "26828e", "35b779", "b5de2b", "fde725")
"""Colours of viridis (van der Walt, Smith), evenly from lowest to highest."""


def plane(values: Any) -> NDArray[np.float64] | None:
    """Return the first two-dimensional field of an array; None where there is none.

    Args:
        values: (..., y, x) of numpy, or anything that numpy takes.
    """
    field = np.asarray(values)
    if field.ndim < 2 or field.dtype.kind not in "fiu" or not field.size:
        return None
    field = field.reshape(-1, *field.shape[-2:])[0].astype(np.float64)
    rows, columns = field.shape
    if min(rows, columns) < LEAST or max(rows, columns) > THINNEST * min(rows, columns):
        return None
    return field if np.isfinite(field).all() else None


def image(field: NDArray[np.float64]) -> str:
    """Return a field (y, x), y upwards, as HTML's ``img`` with its ends as text."""
    step = -(-max(field.shape) // SIZE)
    small = field[::step, ::step][::-1]
    low, high = float(field.min()), float(field.max())
    spread = high - low
    level = (small - low) / spread if np.isfinite(spread) and spread else 0 * small
    text = base64.b64encode(_png(_coloured(level))).decode()
    ends = f"{low:.4g} to {high:.4g}"
    height = round(SIZE * min(1.0, len(small) / small.shape[1]))
    source = f"data:image/png;base64,{text}"
    return f"<img src='{source}' height='{height}' alt='{ends}' /> {ends}"


def pictures(fields: Mapping[str, Any] | Any) -> dict[str, str]:
    """Return an ``img`` of the first sample of each field that can be drawn, by name.

    Args:
        fields: an array, or arrays by name; numpy, torch or xarray.
    """
    if not isinstance(fields, Mapping):
        fields = {"field": fields}
    drawn = {}
    for name, values in fields.items():
        field = plane(_numpy(values))
        if field is not None:
            drawn[str(name)] = image(field)
    return drawn


def _numpy(values: Any) -> Any:
    """Return values that numpy takes, of a tensor with gradients or on a device too."""
    if type(values).__module__.partition(".")[0] == "torch":
        return values.detach().cpu().float().numpy()
    return values


def _coloured(level: NDArray[np.float64]) -> NDArray[np.uint8]:
    stops = np.array([[int(s[k : k + 2], 16) for k in (0, 2, 4)] for s in STOPS], float)
    places = np.linspace(0, 1, len(stops))
    parts = [np.interp(level, places, stops[:, c]) for c in range(3)]
    return np.stack(parts, -1).round().astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Write (y, x, 3) as PNG (W3C, 2003): 8 bits per channel, no filter."""
    rows, columns, _ = pixels.shape
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)
    lines[:, 1:] = pixels.reshape(rows, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
