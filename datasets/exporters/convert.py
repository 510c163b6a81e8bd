"""Write a data file in the layouts of other groups."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, get_args

from opkit.base.files import appearing_folder
from opkit.datasets.header import SPLITS
from opkit.datasets.read import DataFile
from opkit.errors import DataError

Format = Literal["well", "pdebench", "zarr", "vtu"]


def export_data(path: str | Path, out: str | Path, format: Format) -> list[Path]:
    """Write a data file as The Well, PDEBench, Zarr v3 or ParaView have it.

    Args:
        path: the data file.
        out: for ``zarr`` the store to make; for ``vtu`` a folder that gets one file a
            sample, in a folder a split; else a folder that gets one file a split,
            ``train.hdf5`` and so on, since those formats have no splits inside.
        format: one of these.

    Returns:
        What was made.

    Raises:
        DataError: exists already, or has no place in that format (meshes, layers).
        MissingExtraError: zarr or meshio is not installed.
    """
    target = Path(out)
    if format not in get_args(Format):
        raise DataError(f"format {format!r}: choose from {', '.join(get_args(Format))}")
    if target.exists():
        raise DataError(f"{target}: exists already: choose another name or delete it")
    writer: Any = importlib.import_module(f"opkit.datasets.exporters.{format}")
    with DataFile(path) as file, appearing_folder(target, replace=False) as folder:
        if file.header.ragged and format != "vtu":
            raise DataError(
                f"{path}: each sample has a mesh of its own, for which {format} has no "
                "place: choose vtu"
            )
        for _ in file.verify():  # raises if a sample is damaged
            pass
        if format == "zarr":
            writer.write(file, folder)
            return [target]
        if format == "vtu":
            names = writer.write(file, folder)
            return [target / name for name in names]
        splits = [s for s in SPLITS if s in file.header.splits]
        for split in splits:
            writer.write(file, split, folder / f"{split}.hdf5")
    return [target / f"{split}.hdf5" for split in splits]
