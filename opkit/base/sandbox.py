"""Read an untrusted file first in a child process with limits on memory and time.

Readers of many formats can hang or crash on a crafted file (one flipped bit suffices).
The child reads the file under limits; the parent goes on only if that ended well.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from opkit.base.children import environment, python
from opkit.errors import DataError, OpkitError


@dataclass(frozen=True)
class Limits:
    """What a child process may use.

    Args:
        memory: bytes of address space, of which the libraries take about 1 GiB.
        processor_seconds: time on the processor, which other work on the machine does
            not use up.
        wall_seconds: time until the parent ends it, for a child that waits for ever.
    """

    memory: int = 2 << 30
    processor_seconds: int = 30
    wall_seconds: int = 300


LIMITS = Limits()


def run_limited(
    module: str, arguments: list[str], origin: str, limits: Limits = LIMITS
) -> str:
    """Run ``python -P -m module arguments`` with one thread and under limits.

    Args:
        module: with a ``main`` that calls `limit_this_process` first.
        arguments: of the command line.
        origin: file name for the messages.
        limits: of the child.

    Returns:
        What it wrote to its standard output.

    Raises:
        DataError: it ended with an error, a signal, or not in time. A child that ends
            with code 2 says why in the last line of its standard error.
    """
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    try:
        done = subprocess.run(
            python(module, *arguments),
            env=environment(dict.fromkeys(threads, "1")),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limits.wall_seconds,
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{origin}: opening it takes over {limits.wall_seconds} s: the disk does "
            "not answer, or the file is damaged or hostile"
        ) from None
    if done.returncode == 2:
        raise DataError(done.stderr.strip().splitlines()[-1])
    if done.returncode == -signal.SIGXCPU:
        raise DataError(
            f"{origin}: opening it takes over {limits.processor_seconds} s of "
            "processor time: damaged or hostile"
        )
    if done.returncode != 0:
        raise DataError(
            f"{origin}: opening it ended with "
            f"{'signal' if done.returncode < 0 else 'code'} {abs(done.returncode)} "
            "under the limits of memory and time: damaged or hostile"
        )
    return done.stdout


def limit_this_process(limits: Limits = LIMITS) -> None:
    """Set limits on memory, time and the size of files written; allow no core file.

    A limit that the system does not let be set is left out: the time that the parent
    waits still ends the child.
    """
    memory, seconds = limits.memory, limits.processor_seconds
    set_limit(resource.RLIMIT_AS, memory, memory)
    set_limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    set_limit(resource.RLIMIT_FSIZE, memory, memory)
    set_limit(resource.RLIMIT_CORE, 0, 0)


def set_limit(kind: int, soft: int, hard: int) -> None:
    """Set one limit, or keep a stricter one; macOS cannot set that of the memory.

    Args:
        kind: one of ``resource.RLIMIT_*``.
        soft: in the unit of its kind.
        hard: above which it cannot be raised again.
    """
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = (min(n, most) if n >= 0 else most for n in (soft, hard))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, hard))


def answer(name: str, read: Callable[[], object]) -> int:
    """Call ``read`` in the child: 0 if it returns, 2 with one line if it refuses."""
    try:
        read()
    except OpkitError as error:
        print(error, file=sys.stderr)
        return 2
    except (MemoryError, RecursionError) as error:
        print(f"{name}: {type(error).__name__}: damaged or hostile", file=sys.stderr)
        return 2
    return 0
