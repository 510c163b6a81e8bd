"""Command lines of opkit in forks of one process that has loaded the libraries.

Starting Python and loading PyTorch takes seconds for each of thousands of command
lines; a fork takes milliseconds.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import planted

SERVER = """
import json, os, resource, select, signal, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks: torch has one thread
import numpy, h5py, torch, xarray, meshio, matplotlib
import opkit.cli, opkit.train, opkit.surrogate, opkit.report, opkit.export.main
import opkit.hypino.solution, opkit.figures.plots, opkit.evaluate
opkit.errors, matplotlib.use("Agg")
torch.set_num_threads(1)

def child(words, out, err, limit, variables):
    os.setpgid(0, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv[1:] = words
    os.environ.update(variables)
    if limit is not None:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    code = 0
    try:
        if words[0] == "-c":
            written(words[1])
        opkit.cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

def written(code):
    try:
        exec(code, {})  # of this battery
    except opkit.errors.OpkitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(0)

for line in sys.stdin:
    words, seconds, until, *rest = json.loads(line)
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        child(words, out[1], err[1], *rest)
    os.close(out[1])
    os.close(err[1])
    texts = {out[0]: b"", err[0]: b""}
    open_, start, hung = set(texts), time.monotonic(), False
    while open_:
        left = start + seconds - time.monotonic()
        ready = select.select(list(open_), [], [], max(left, 0))[0]
        if not ready and not hung:
            hung = True
            os.killpg(pid, signal.SIGKILL)
        elif not ready:
            break  # an orphan holds the pipe
        for end in ready:
            got = os.read(end, 65536)
            texts[end] += got
            if until and until.encode() in texts[end] and not hung:
                hung = True
                os.killpg(pid, signal.SIGKILL)
            if not got:
                open_.remove(end)
    os.close(out[0])
    os.close(err[0])
    _, status, used = os.wait4(pid, 0)
    texts = [texts[end[0]].decode(errors="replace") for end in (out, err)]
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps([code, *texts, hung, used.ru_maxrss >> 10]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """What came of a command line.

    Args:
        code: its exit code; negative for a signal.
        out: standard output.
        err: standard error.
        hung: whether it was killed when its time was over.
        mebibytes: the most memory that it held, with what was loaded before the fork.
    """

    code: int
    out: str
    err: str
    hung: bool
    mebibytes: int

    @property
    def lines(self) -> list[str]:
        """What is on standard error, less empty lines."""
        return [line for line in self.err.splitlines() if line.strip()]

    @property
    def typed(self) -> bool:
        """Whether it ended in one line and an exit code of its own."""
        errors = [line for line in self.lines if not line.startswith("Warning: ")]
        return self.code in (1, 2) and len(errors) == 1 and not self.hung


MEBIBYTES = 2500
"""The most that a command line may hold."""


def tally(counts: dict[str, int], ended: Ended) -> bool:
    """Count how a command line ended; say whether it was untyped or crashed."""
    wrong = (ended.code != 0 and not ended.typed) or "Traceback" in ended.err
    counts["did their work"] += ended.code == 0
    counts["one line"] += ended.typed
    counts["hung"] += ended.hung
    counts["untyped or crashed"] += wrong and not ended.hung
    counts["over 2.5 GB"] += ended.mebibytes > MEBIBYTES
    return wrong


class Opkit:
    """Command lines in forks of one process.

    Args:
        folder: where they run.
        before: words before those that start Python, such as of unshare.
        variables: to be set in the environment.
    """

    def __init__(
        self,
        folder: Path,
        before: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        here = Path(__file__).parent
        own = {"PYTHONPATH": f"{planted.ROOT}:{here}", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [*before, sys.executable, "-c", SERVER],
            cwd=folder,
            env={**os.environ, **own, **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def __call__(
        self,
        words: str | Sequence[str],
        *,
        seconds: float = 900,
        limit: int | None = None,
        variables: Mapping[str, str] | None = None,
        until: str = "",
    ) -> Ended:
        """Run a command line.

        Args:
            words: of it; after ``-c`` the text of a program in Python.
            seconds: after which it is killed.
            limit: bytes a file may have.
            variables: to be set in the environment.
            until: text after which it is killed, such as what a server says.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        split = shlex.split(words) if isinstance(words, str) else list(words)
        request = [split, seconds, until, limit, dict(variables or {})]
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Ended(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
