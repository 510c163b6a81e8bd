"""The reliability batteries: a smoke version each, and in full where marked slow."""

from collections.abc import Iterator
from pathlib import Path

import corruption
import hostile
import kills
import processes
import pytest


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", "")
    processes.install_plugin()
    yield


def counts(smoke: int, full: int) -> list[object]:
    """The parameters of a battery: a few in the default tests, all in the slow ones."""
    return [
        smoke,
        pytest.param(full, marks=[pytest.mark.slow, pytest.mark.timeout(2400)]),
    ]


@pytest.mark.parametrize("count", counts(3, 200))
def test_kills(tmp_path: Path, count: int) -> None:
    found = kills.main_kills(tmp_path, count)
    assert found["unreadable"] == found["bad or lost rows"] == 0
    assert found["same hash"] == found["kills"] == count
    assert found["most redone"] <= processes.SHARD * 2  # at most one shard a worker
    assert found["before the end"] > 0


@pytest.mark.parametrize("count", counts(3, 50))
def test_worker_kills(tmp_path: Path, count: int) -> None:
    found = kills.worker_kills(tmp_path, count)
    assert found["worker kills"] == count
    assert found["same hash"] == found["generations"]


@pytest.mark.parametrize("count", counts(1, 10))
def test_kills_at_named_points(tmp_path: Path, count: int) -> None:
    for name, found in kills.point_kills(tmp_path, count):
        assert found == {"kills": count, "same hash": count}, name


@pytest.mark.parametrize("count", counts(2, 20))
def test_signals(tmp_path: Path, count: int) -> None:
    assert set(kills.signals(tmp_path, count).values()) == {count}


@pytest.mark.parametrize("count", counts(2, 10))
def test_disk_full(tmp_path: Path, count: int) -> None:
    assert set(kills.disk_full(tmp_path, count).values()) == {count}


@pytest.mark.parametrize("count", counts(2, 10))
def test_two_writers(tmp_path: Path, count: int) -> None:
    assert set(kills.two_writers(tmp_path, count).values()) == {count}


@pytest.mark.parametrize("share", counts(20, 1))
def test_corruption(tmp_path: Path, share: int) -> None:
    amounts = {name: max(2, n // share) for name, n in corruption.FULL.items()}
    for name, found in corruption.battery(tmp_path, amounts):
        assert found["silent"] == found["crashed"] == found["hung"] == 0, name
        assert found["refused"] > 0, name


@pytest.mark.parametrize("every", counts(15, 1))
def test_hostile_files(tmp_path: Path, every: int) -> None:
    for verdict in hostile.battery(tmp_path, every):
        assert verdict.passed, verdict
