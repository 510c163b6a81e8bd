"""The child process that opens untrusted files: its limits hold, and cost one line."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opkit.case import Case
from opkit.datasets import guard
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.generate import generate

Heat = Callable[..., Case]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("sleep", "over 1 s"),
        ("allocate", "out of memory"),
        ("crash", "signal 11"),
    ],
)
def test_limits_end_as_one_line(
    heat: Heat, monkeypatch: pytest.MonkeyPatch, how: str, says: str
) -> None:
    if how == "sleep":
        monkeypatch.setattr(guard, "WALL_SECONDS", 1)
    with pytest.raises(DataError, match=says) as caught:
        guard.run_limited("naughty", [how], "x.h5")
    assert "\n" not in str(caught.value)


def test_a_file_is_guarded_once_until_it_changes(
    heat: Heat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = generate(heat(), tmp_path / "a.h5")
    opened: list[str] = []
    run = guard.run_limited

    def count(module: str, arguments: list[str], origin: str) -> str:
        opened.append(origin)
        return run(module, arguments, origin)

    monkeypatch.setattr(guard, "run_limited", count)
    DataFile(path).close()
    DataFile(path).close()
    assert len(opened) == 1
    os.utime(path, (time.time(), time.time() + 5))
    DataFile(path).close()
    assert len(opened) == 2
