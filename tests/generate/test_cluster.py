"""The same bytes through Dask: a local cluster, a running one, dead and poisoned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError, SolverError
from opkit.generate import Progress, generate

pytest.importorskip("distributed")
Heat = Callable[..., Case]


@pytest.fixture
def address(heat: Heat, tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers, each a process of its own, as on a cluster."""
    note = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(note), "--no-dashboard"]
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--port", "0", *options],
            start_new_session=True,
            **quiet,  # type: ignore[call-overload]
        )
    ]
    try:
        deadline = time.monotonic() + 30
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(2):
            started.append(
                subprocess.Popen(
                    [*dask, "worker", "--nthreads", "1", *options],
                    start_new_session=True,
                    **quiet,  # type: ignore[call-overload]
                )
            )
        import json

        yield json.loads(note.read_text())["address"]
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def content(path: Path) -> str:
    with DataFile(path) as file:
        assert len(list(file.verify())) == len(file)
        return file.content_hash()


def test_same_content_as_without_dask(heat: Heat, tmp_path: Path) -> None:
    plain = generate(heat(), tmp_path / "plain.h5", samples=100)
    out = tmp_path / "dask.h5"
    generate(heat(), out, samples=100, workers=2, scheduler="local")
    assert content(out) == content(plain)


@pytest.mark.slow
def test_a_running_cluster_that_loses_workers(
    heat: Heat, tmp_path: Path, address: str
) -> None:
    plain = generate(heat(delay=0.005), tmp_path / "plain.h5", samples=200)
    killed = []

    def strike(progress: Progress) -> None:
        """Kill one worker under its nanny, which starts another."""
        if 32 < progress.done < 150 and len(killed) < 2:
            listed = subprocess.run(
                ["pgrep", "-f", "multiprocessing.*spawn_main"],
                capture_output=True,
                text=True,
                check=False,
            )
            mine = [p for p in map(int, listed.stdout.split()) if _environ(p, tmp_path)]
            if mine:
                os.kill(mine[0], signal.SIGKILL)
                killed.append(mine[0])

    out = tmp_path / "dask.h5"
    generate(heat(delay=0.005), out, samples=200, scheduler=address, progress=strike)
    assert killed
    assert content(out) == content(plain)


def _environ(pid: int, folder: Path) -> bool:
    """Whether a process was started by this test's workers."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes()
        parent = int(Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[1])
        line = Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False
    return str(folder).encode() in line or str(folder).encode() in text


@pytest.mark.slow
def test_poison_sample_on_dask(heat: Heat, tmp_path: Path, address: str) -> None:
    with pytest.raises(SolverError, match="killed its worker 3 times") as caught:
        case = heat(fault="die", at=(6,))
        generate(case, tmp_path / "bad.h5", seed=2, scheduler=address)
    assert caught.value.seed == (2, 6)


def test_no_scheduler_there(
    heat: Heat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opkit.generate import pools as cluster

    monkeypatch.setattr(cluster, "TIMEOUT", "1s")
    with pytest.raises(OpkitInputError, match="no Dask scheduler answers"):
        generate(heat(), tmp_path / "a.h5", scheduler="tcp://127.0.0.1:1")
