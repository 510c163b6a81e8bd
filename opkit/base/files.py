"""Files that appear whole or not at all, targets that are free, locks.

New content lies beside the old under a hidden name, which says the process that writes
it; one rename brings it in place. What a killed process left is removed by the next one
that writes into the folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import platform
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from opkit.errors import DataError

_TEMPORARY = re.compile(r"\..*\.tmp-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\Z", re.DOTALL)
_swept: set[str] = set()


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the same folder, to be renamed into place.

    It ends with this machine, process, and the process's start; `sweep` reads them.
    """
    pid = os.getpid()
    end = f".tmp-{_machine()}-{pid}-{_started(pid)}-{uuid.uuid4().hex[:8]}"
    name = path.name.encode(errors="surrogateescape")[: 250 - len(end)]
    return path.with_name("." + name.decode(errors="ignore") + end)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that have ended left while they wrote."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            match = _TEMPORARY.match(entry.name)
            if not match or match[1] != _machine() or _lives(*match.groups()[1:]):
                continue
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _started(pid: int) -> str:
    """Return when a process started, in ticks since boot; 0 where nobody knows."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def _lives(pid: str, started: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return _started(int(pid)) == started


def check_target(
    target: Path, inputs: Iterable[Path | None] = (), force: bool = False
) -> None:
    """Refuse to write where something is already.

    Args:
        target: the file to be made.
        inputs: what is read; never a target, whichever name or link leads to it.
        force: allow to replace another file.

    Raises:
        DataError: it is an input, or a folder, or exists; or its folder is none.
    """
    for source in inputs:
        if source is not None and _same(target, source):
            raise DataError(f"{target}: is read as input: choose another output")
    try:
        if target.is_dir():
            raise DataError(f"{target}: is a folder: name a file")
        if os.path.lexists(target) and not force:
            raise DataError(
                f"{target}: exists already: choose another name, delete it, or allow "
                "to replace it (--force)"
            )
        if target.exists() and not target.is_file():
            raise DataError(f"{target}: is not a regular file: choose another output")
    except OSError as error:
        raise DataError(f"{target}: {why(error)}") from None


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return os.path.abspath(one) == os.path.abspath(other)


def real(path: Path) -> Path:
    """Return the absolute path without links; of a loop of links, what can be told.

    `Path.resolve` raises a RuntimeError at a loop in Python up to 3.12.
    """
    return Path(os.path.realpath(path))


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file; pipes and devices are never opened.

    Args:
        path: the file, or a link to it.
        most: refuse more bytes.

    Raises:
        OSError: no such file, no regular one, or larger.
    """
    with open_regular(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most >> 20} MiB", str(path))
        content = file.read()
    return content


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading without ever waiting for a pipe.

    Raises:
        OSError: no such file, or no regular one.
    """
    return os.fdopen(_regular(path, os.O_RDONLY), "rb")


def append_regular(path: Path, content: bytes) -> None:
    """Add to a regular file, which need not be there yet.

    No pipe is waited for, and no link followed: a folder of others could send the lines
    anywhere.

    Raises:
        OSError: no regular file, a link to one, or it cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(_regular(path, flags), "ab") as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise OSError(errno.EMLINK, "has several names: copy it", str(path))
        file.write(content)


def _regular(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and flags & os.O_NOFOLLOW:
            raise OSError(errno.ELOOP, "is a link: put a file", str(path)) from None
        if error.errno == errno.ENXIO:  # a pipe that nobody reads
            raise OSError(errno.EINVAL, "is no regular file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0
        os.close(descriptor)
        if kind:
            raise IsADirectoryError(kind, os.strerror(kind), str(path))
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return descriptor


def make_folder(path: Path) -> None:
    """Make a folder and those above it, but none directly in the root.

    Raises:
        DataError: the system refuses, or the first folder to be made is in ``/``.
    """
    missing = path.absolute()
    try:
        while not os.path.lexists(missing.parent):
            missing = missing.parent
        if missing.parent == Path(missing.anchor) and not os.path.lexists(missing):
            raise DataError(
                f"{missing}: would be a new folder in the root of the file system: "
                "make it first if that is meant"
            )
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: {why(error)}") from None


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


def publish(temporary: Path, path: Path, replace: bool = True) -> None:
    """Give a finished temporary file its final name: sync, rename, sync the folder.

    Args:
        temporary: a file, or a folder.
        path: its name from now on.
        replace: whether a file of that name may be there.

    Raises:
        FileExistsError: one is, and may not.
    """
    sync(temporary)
    if replace:
        os.replace(temporary, path)
    else:
        _rename(temporary, path, _NO_REPLACE)
    sync(path.parent)


_NO_REPLACE, _EXCHANGE = 1, 2  # of Linux' renameat2(2)


def _rename(one: Path, other: Path, flag: int) -> None:
    """Call renameat2; where it is missing, check first and rename then."""
    here = -100  # AT_FDCWD
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        code = errno.ENOSYS
    else:
        if call(here, os.fsencode(one), here, os.fsencode(other), flag) == 0:
            return
        code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), str(other))
    if flag == _EXCHANGE:
        aside = temporary_beside(other)
        os.rename(other, aside)
        os.rename(one, other)
        os.rename(aside, one)
    elif os.path.lexists(other):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(other))
    else:
        os.rename(one, other)


@contextmanager
def appearing(
    path: Path, folder: Path | None = None, replace: bool = True
) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without error.

    Args:
        path: the final one.
        folder: where the temporary path is to be, on the same file system; beside
            `path` by default.
        replace: whether a file of that name may be there at the end.

    Raises:
        DataError: the disk is full, the folder cannot be written, or a file has come
            there meanwhile.
    """
    temporary = temporary_beside(folder / path.name if folder else path)
    _sweep_once(temporary.parent)
    try:
        yield temporary
        publish(temporary, path, replace)
    except (OSError, RuntimeError) as error:  # h5py raises either on a full disk
        raise DataError(f"{path}: {why(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def appearing_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a new folder that takes the place of `path` when the block ends.

    Files of the old folder that the new one lacks stay.

    Args:
        path: the final folder.
        replace: whether one may be there at the end.

    Raises:
        DataError: the disk is full, the folder cannot be written, or one is there; it
            is a link, which would let files be moved out of another folder.
    """
    if path.is_symlink():
        raise DataError(f"{path}: is a link: put the folder itself there")
    temporary = temporary_beside(path.absolute())
    _sweep_once(temporary.parent)
    try:
        temporary.mkdir()
        yield temporary
        for entry in temporary.iterdir():
            sync(entry)
        if replace and path.is_dir():
            _take_along(path, temporary)
            sync(temporary)
            _rename(temporary, path, _EXCHANGE)
            sync(path.parent)
        else:
            publish(temporary, path, replace=False)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: {why(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_along(old: Path, new: Path) -> None:
    """Give files of the old folder a name in the new one, before it takes its place.

    Who is killed between the two steps has lost none: the old folder is removed with
    what is in it.
    """
    for entry in list(old.iterdir()):
        target = new / entry.name
        if os.path.lexists(target):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target, symlinks=True)
            continue
        try:
            os.link(entry, target, follow_symlinks=False)
        except OSError:  # a file system without several names
            shutil.copy2(entry, target, follow_symlinks=False)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which is removed at the end of the block.

    One that a killed process left is removed by the next that writes there.

    Raises:
        DataError: the folder cannot be made.
    """
    folder = temporary_beside(path.absolute())
    _sweep_once(folder.parent)
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise DataError(f"{path}: {why(error)}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_once(folder: Path) -> None:
    name = os.path.abspath(folder)
    if name not in _swept:
        _swept.add(name)
        sweep(folder)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what the system refuses in the block into a `DataError` with the path."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {why(error)}") from error


def write_bytes(path: Path, content: bytes | memoryview, replace: bool = True) -> None:
    """Write a file that appears whole or not at all."""
    with appearing(path, replace=replace) as temporary, temporary.open("wb") as file:
        file.write(content)


def why(error: Exception) -> str:
    """Say in a few words what the operating system refused, and the remedy."""
    text = str(error)
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            "the disk is full or a size limit is reached: free space and start again "
            "(generate, train and tune with --resume)"
        )
    if code == errno.EEXIST:
        return "exists already: choose another name or delete it"
    for inner in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # in HDF5's own messages
        if f"errno = {inner}," in text:
            return why(OSError(inner, ""))
    words = getattr(error, "strerror", None) or (text.splitlines() or [""])[0]
    return words or type(error).__name__


_LOCK = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def locked(
    path: Path, doing: str = "is generating into it", wait: float = 0.0
) -> Iterator[None]:
    """Hold a lock file; a second process is refused, a dead one's lock is no hindrance.

    Args:
        path: the lock file, which stays.
        doing: what its holder does with the folder, for the message.
        wait: seconds after which a second process, or thread, is refused.

    Raises:
        DataError: another process holds it, or the file system has no locks.
    """
    latest = time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(path, _LOCK, 0o644)
        except OSError as error:
            raise DataError(f"{path}: {why(error)}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                if time.monotonic() < latest:
                    time.sleep(0.01)
                    continue
                raise DataError(
                    f"{path.parent}: another process {doing}: "
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


def file_digest(path: Path) -> str:
    """SHA-256 of a regular file's bytes."""
    with os.fdopen(_regular(path, os.O_RDONLY), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
