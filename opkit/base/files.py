"""Files that appear whole or not at all, and a lock between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opkit.errors import DataError


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the same folder, to be renamed into place."""
    return path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")


def sync(path: Path) -> None:
    """Ask the operating system to bring a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_writing(descriptor: int, begin: int, end: int) -> None:
    """Let the system bring a part of a file to disk, without waiting for it."""
    os.posix_fadvise(descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its final name: sync, rename, sync the folder."""
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


@contextmanager
def appearing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without error.

    Args:
        path: the final one.
        folder: where the temporary path is to be, on the same file system; beside
            `path` by default.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    temporary = temporary_beside(folder / path.name if folder else path)
    try:
        yield temporary
        publish(temporary, path)
    except (OSError, RuntimeError) as error:  # h5py raises either on a full disk
        raise DataError(f"{path}: {why(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file that appears whole or not at all."""
    with appearing(path) as temporary, temporary.open("wb") as file:
        file.write(content)


def why(error: Exception) -> str:
    """Say in a few words what the operating system refused, and the remedy."""
    text = str(error)
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full or a size limit is reached: free space, then --resume"
    for inner in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # in HDF5's own messages
        if f"errno = {inner}," in text:
            return why(OSError(inner, ""))
    return getattr(error, "strerror", None) or text.splitlines()[0]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; a second process is refused, a dead one's lock is no hindrance.

    Raises:
        DataError: another process holds it, or the file system has no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise DataError(
                    f"{path.parent}: another process is generating into it: "
                    "wait for it, or choose another output"
                ) from None
            raise DataError(
                f"{path}: this file system cannot lock files: "
                "write to another one and move the result"
            ) from error
        try:
            same = os.path.samestat(os.fstat(descriptor), path.stat())
        except FileNotFoundError:
            same = False
        if same:
            break
        os.close(descriptor)  # its holder removed it between open and flock
    try:
        yield
    finally:
        os.close(descriptor)
