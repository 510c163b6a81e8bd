"""The child process that opens untrusted files: its limits hold, and cost one line."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opkit.base.sandbox import Limits, run_limited
from opkit.case.record import Case
from opkit.datasets import read
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
        ("spin", "over 2 s of processor time"),
    ],
)
def test_limits_end_as_one_line(heat: Heat, how: str, says: str) -> None:
    limits = Limits(processor_seconds=2, wall_seconds=1 if how == "sleep" else 300)
    with pytest.raises(DataError, match=says) as caught:
        run_limited("naughty", [how], "x.h5", limits)
    assert "\n" not in str(caught.value)


def test_time_that_others_use_is_not_counted(heat: Heat) -> None:
    """A child that is on the processor for less than 2 s may take 3 s and more."""
    run_limited("naughty", ["wait"], "x.h5", Limits(processor_seconds=2))


def test_a_file_is_guarded_once_until_it_changes(
    heat: Heat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = generate(heat(), tmp_path / "a.h5")
    opened: list[str] = []

    def count(module: str, arguments: list[str], origin: str) -> str:
        opened.append(origin)
        return run_limited(module, arguments, origin)

    monkeypatch.setattr(read, "run_limited", count)
    DataFile(path).close()
    DataFile(path).close()
    assert len(opened) == 1
    os.utime(path, (time.time(), time.time() + 5))
    DataFile(path).close()
    assert len(opened) == 2
