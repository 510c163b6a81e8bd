"""Kill, stop, starve and race generations; count what is lost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import processes

from opkit.generate import Progress, generate

DELAY = 0.004  # seconds a sample, so that kills fall into the middle


def main_kills(folder: Path, count: int, seed: int = 0) -> dict[str, int]:
    """kill -9 at random moments; half of the times the workers too.

    A moment lies between the first trace on disk and, as a generation takes under this
    machine's load, a little after the end.
    """
    rng, problem = random.Random(seed), processes.case(delay=DELAY)
    begun = time.monotonic()
    expected = processes.reference(folder, problem)
    usual = time.monotonic() - begun
    result = dict.fromkeys(
        ("kills", "before the end", "unreadable", "bad or lost rows", "same hash"), 0
    )
    result["most redone"] = 0
    for number in range(count):
        out = folder / "killed.h5"
        child = processes.start(problem, out, workers=1 + number % 2)
        while not processes.parts(out).exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1.1 * usual))
        _kill(child, group=number % 4 < 2)
        result["kills"] += 1
        if not out.exists() and processes.parts(out).exists():
            result["before the end"] += 1
            remains = processes.inspect(out)
            result["unreadable"] += remains.unreadable
            result["bad or lost rows"] += remains.lost
            result["most redone"] = max(result["most redone"], remains.redo)
        generate(problem, out, samples=processes.SAMPLES, resume=True)
        result["same hash"] += processes.content(out) == expected
        out.unlink()
    return result


def worker_kills(folder: Path, count: int, seed: int = 1) -> dict[str, int]:
    """kill -9 a random worker again and again while the main process lives on.

    The next kill comes after some more samples: workers that die while they start, ten
    times over one task, are rightly given up.
    """
    rng, problem = random.Random(seed), processes.case(delay=DELAY)
    expected = processes.reference(folder, problem)
    killed = generations = same = 0
    while killed < count:
        out = folder / "orphan.h5"
        last = -1

        def strike(progress: Progress) -> None:
            nonlocal killed, last
            victims = [pid for pid in children() if progress.stage == "solving"]
            if victims and killed < count and progress.done > last:
                os.kill(rng.choice(victims), signal.SIGKILL)
                killed += 1
                last = progress.done

        workers = (1, 2, 4)[generations % 3]
        generate(
            problem, out, samples=processes.SAMPLES, workers=workers, progress=strike
        )
        same += processes.content(out) == expected
        generations += 1
        out.unlink()
    return {"worker kills": killed, "generations": generations, "same hash": same}


POINTS = {
    "worker: before fsync": "before-sync",
    "worker: between fsync and rename": "before-rename",
    "worker: after rename, before the answer": "after-rename",
}
MAIN_POINTS = {
    "main: between rename and manifest": "at('before')",
    "main: in the middle of a manifest line": "at('within')",
    "main: after the manifest": "at('after')",
    "main: between the final rename and clearing up": "assembled()",
}
HOOKS = """
import os, signal, random
from opkit.generate import manifest, run
def die(): os.kill(os.getpid(), signal.SIGKILL)
def at(where, calls=[0], when=random.Random(%d).randint(1, 5)):
    add = manifest.Manifest.add
    def struck(self, made):
        calls[0] += 1
        if calls[0] != when:
            return add(self, made)
        if where == 'before': die()
        if where == 'within':
            with self._path.open('ab') as file:
                file.write(b'{"name": "shard-00')
            die()
        add(self, made)
        die()
    manifest.Manifest.add = struck
def assembled():
    run.shutil.rmtree = lambda folder: die()
%s
"""


def point_kills(folder: Path, count: int) -> Iterator[tuple[str, dict[str, int]]]:
    """kill -9 at named points, each `count` times."""
    plain = processes.case()
    expected = processes.reference(folder, plain)
    for name, point in POINTS.items():
        same = died = 0
        for number in range(count):
            note, out = folder / f"{point}-{number}", folder / "point.h5"
            problem = processes.case(
                fault=point, at=(17 * number % 190,), note=str(note)
            )
            generate(problem, out, samples=processes.SAMPLES, workers=1 + number % 2)
            died += note.exists()
            # the amplitude of the marked sample differs from the plain case's
            again = folder / "again.h5"
            generate(problem, again, samples=processes.SAMPLES)  # note exists: no fault
            same += processes.content(out) == processes.content(again)
            out.unlink()
            again.unlink()
        yield name, {"kills": died, "same hash": same}
    for name, call in MAIN_POINTS.items():
        same = died = 0
        for number in range(count):
            out = folder / "point.h5"
            child = processes.start(plain, out, before=HOOKS % (number, call))
            died += child.wait(60) == -signal.SIGKILL
            generate(plain, out, samples=processes.SAMPLES, resume=True)
            same += processes.content(out) == expected
            out.unlink()
            shutil.rmtree(processes.parts(out), ignore_errors=True)
        yield name, {"kills": died, "same hash": same}


def signals(folder: Path, count: int, seed: int = 2) -> dict[str, int]:
    """SIGINT and SIGTERM: an end within 5 s, no worker left, and it resumes."""
    rng, problem = random.Random(seed), processes.case(delay=DELAY)
    expected = processes.reference(folder, problem)
    result = dict.fromkeys(("signals", "within 5 s", "no worker left", "same hash"), 0)
    for number in range(count):
        out = folder / "stopped.h5"
        child = processes.start(problem, out, workers=2)
        time.sleep(rng.uniform(0.5, 1.2))
        workers = children(child.pid)
        started = time.monotonic()
        child.send_signal((signal.SIGINT, signal.SIGTERM)[number % 2])
        child.communicate()
        result["signals"] += 1
        result["within 5 s"] += time.monotonic() - started < 5
        result["no worker left"] += _gone(workers)
        generate(problem, out, samples=processes.SAMPLES, resume=True)
        result["same hash"] += processes.content(out) == expected
        out.unlink()
    return result


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (%d, %d))
"""


def disk_full(folder: Path, offsets: int) -> dict[str, int]:
    """A limit on file size at many offsets, within shards and within the final file."""
    problem = processes.case()
    expected = processes.reference(folder, problem)
    size = (folder / "reference.h5").stat().st_size
    result = dict.fromkeys(("offsets", "one typed line", "no partial file",
                            "same hash after --resume"), 0)  # fmt: skip
    for number in range(offsets):
        limit = int(size * (0.02 + 0.96 * number / max(offsets - 1, 1)))
        out = folder / "full.h5"
        child = processes.start(problem, out, before=FULL % (limit, limit))
        _, text = child.communicate()
        lines = text.strip().splitlines()
        typed = child.returncode == 2 and len(lines) == 1 and "disk is full" in text
        result["offsets"] += 1
        result["one typed line"] += typed
        result["no partial file"] += (
            not out.exists() and not processes.inspect(out).lost
        )
        generate(problem, out, samples=processes.SAMPLES, resume=True)
        result["same hash after --resume"] += processes.content(out) == expected
        out.unlink()
    return result


def two_writers(folder: Path, count: int) -> dict[str, int]:
    """Two generations into one file, HDF5's own locks on and off."""
    problem = processes.case(delay=DELAY)
    expected = processes.reference(folder, problem)
    result = dict.fromkeys(("races", "second refused", "same hash"), 0)
    for number in range(count):
        out = folder / "raced.h5"
        locks = {"HDF5_USE_FILE_LOCKING": ("TRUE", "FALSE")[number % 2]}
        first = processes.start(problem, out, environment=locks, resume=True)
        second = processes.start(problem, out, environment=locks, resume=True)
        texts = [child.communicate()[1] for child in (first, second)]
        codes = sorted((first.returncode, second.returncode))
        result["races"] += 1
        result["second refused"] += codes == [0, 2] and any(
            "another process" in text for text in texts
        )
        result["same hash"] += processes.content(out) == expected
        out.unlink()
    return result


def children(parent: int | None = None) -> list[int]:
    """Process numbers of the direct children of a process."""
    number = os.getpid() if parent is None else parent
    try:
        tasks = Path(f"/proc/{number}/task").iterdir()
        return [int(pid) for t in tasks for pid in (t / "children").read_text().split()]
    except OSError:
        return []


def _kill(child: subprocess.Popen[str], group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL) if group else child.kill()
    child.communicate()


def _gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False
