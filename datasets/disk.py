"""A file for HDF5 to write to, on a disk that may be full."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from opkit.base.files import appearing, start_writing
from opkit.datasets.layout import LIBVER


@contextmanager
def hdf5_appearing(path: Path, replace: bool = True) -> Iterator[h5py.File]:
    """Yield an HDF5 file that appears at `path` whole or not at all.

    Raises:
        DataError: the disk is full, the folder cannot be written, or a file is there
            and may not be replaced.
    """
    with appearing(path, replace=replace) as temporary, written(temporary) as file:
        yield file


@contextmanager
def written(path: Path, **options: Any) -> Iterator[h5py.File]:
    """Yield a new HDF5 file, to which the system's refusals are not told.

    Args:
        path: the file to make.
        options: of `h5py.File`; ``libver`` is that of data files by default.

    Raises:
        OSError: the first refusal, when the file is closed.
    """
    settings = {"libver": LIBVER, **options}
    with (
        QuietFile(path, "w+b") as raw,
        raw.raising_refusals(),
        h5py.File(raw, "w", **settings) as file,
    ):
        yield file


class QuietFile(io.FileIO):
    """A file that HDF5 writes to, and that never tells it what the system refuses.

    HDF5 can crash when it closes a file that it could not write. The first refusal is
    kept in ``refused``; nothing is written after it.
    """

    refused: OSError | None = None
    _sent = 0

    def write(self, data: Any) -> int:
        """Write all of it, unless something was refused."""
        view = memoryview(data).cast("B")
        done = 0

        def some() -> None:
            nonlocal done
            done += super(QuietFile, self).write(view[done:]) or 0

        while done < len(view) and self._try(some):
            pass
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size, unless something was refused."""
        self._try(lambda: super(QuietFile, self).truncate(size))
        return size or 0

    def hdf5(self, mode: str) -> h5py.File:
        """Open it as an HDF5 file, ``"w"`` or ``"r+"``."""
        return h5py.File(self, mode, libver=LIBVER)

    def start_writing(self) -> None:
        """Have the system bring to disk what was added."""
        end = self.seek(0, io.SEEK_END)
        start_writing(self.fileno(), self._sent, end)
        self._sent = end

    def raise_refusal(self) -> None:
        """Raise what was refused."""
        if self.refused is not None:
            raise self.refused

    @contextmanager
    def raising_refusals(self) -> Iterator[None]:
        """Raise what was refused at the end, and instead of what HDF5 makes of it."""
        try:
            yield
        except (OSError, RuntimeError):
            self.raise_refusal()
            raise
        self.raise_refusal()

    def _try(self, call: Callable[[], object]) -> bool:
        if self.refused is None:
            try:
                call()
            except OSError as error:
                self.refused = error
        return self.refused is None
