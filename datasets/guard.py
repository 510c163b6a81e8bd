"""Open an untrusted file first in a child process with memory, CPU and wall limits.

HDF5 can hang or crash on a crafted file (one flipped bit suffices). The child opens
the file, audits its metadata and reads its header; the parent goes on only if that
ended well.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from opkit.errors import DataError

MEMORY_BYTES = 2 << 30  # address space, of which the libraries take about 1 GiB
CPU_SECONDS = 20
WALL_SECONDS = 30

_passed: set[tuple[str, int, int, int]] = set()


def open_guarded(path: Path) -> None:
    """Return if a limited child process could open and audit the opkit data file.

    Raises:
        DataError: it could not; the message is the child's, or says which limit it hit.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    key = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _passed:
        run_limited("opkit.datasets.guard", ["data", str(path)], str(path))
        _passed.add(key)


def run_limited(module: str, arguments: list[str], origin: str) -> str:
    """Run ``python -m module arguments`` with few threads and a wall limit.

    Returns:
        What it wrote to its standard output.

    Raises:
        DataError: it ended with an error, a signal, or not in time.
    """
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{origin}: opening it takes over {WALL_SECONDS} s: damaged or hostile"
        ) from None
    if done.returncode == 2:
        raise DataError(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise DataError(
            f"{origin}: opening it ended with "
            f"{'signal' if done.returncode < 0 else 'code'} {abs(done.returncode)} "
            "under the limits of memory and time: damaged or hostile"
        )
    return done.stdout


def limit_this_process() -> None:
    """Set the limits on memory and CPU time, and none on core files but zero."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(kind: str, name: str) -> int:
    """Open one file under limits; 0 if it is sound, 2 with one line if not."""
    limit_this_process()
    from opkit.datasets.importers.hdf5 import audited
    from opkit.datasets.read import DataFile

    try:
        if kind == "data":
            DataFile(name, trusted=True).close()
        else:
            audited(Path(name)).close()
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    except (MemoryError, RecursionError) as error:
        print(f"{name}: {type(error).__name__}: damaged or hostile", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
