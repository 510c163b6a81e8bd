"""The reliability batteries: a smoke version each, and in full where marked slow."""

from collections.abc import Iterator
from pathlib import Path

import corruption
import edited_values
import full_disks
import hostile
import kills
import mutated
import odd_places
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


@pytest.mark.parametrize("count", counts(2, 200))
def test_kills(tmp_path: Path, count: int) -> None:
    outcomes = kills.main_kills(tmp_path, count)
    assert outcomes["unreadable"] == outcomes["bad or lost rows"] == 0
    assert outcomes["same hash"] == outcomes["kills"] == count
    assert outcomes["most redone"] <= processes.SHARD * 2  # at most one shard a worker
    assert outcomes["before the end"] > 0


@pytest.mark.parametrize("count", counts(2, 50))
def test_worker_kills(tmp_path: Path, count: int) -> None:
    outcomes = kills.worker_kills(tmp_path, count)
    assert outcomes["worker kills"] == count
    assert outcomes["same hash"] == outcomes["generations"]


@pytest.mark.parametrize("count", counts(1, 10))
def test_kills_at_named_points(tmp_path: Path, count: int) -> None:
    for name, outcomes in kills.point_kills(tmp_path, count):
        assert outcomes == {"kills": count, "same hash": count}, name


@pytest.mark.parametrize("count", counts(2, 20))
def test_signals(tmp_path: Path, count: int) -> None:
    assert set(kills.signals(tmp_path, count).values()) == {count}


@pytest.mark.parametrize("count", counts(2, 10))
def test_disk_full(tmp_path: Path, count: int) -> None:
    assert set(kills.disk_full(tmp_path, count).values()) == {count}


@pytest.mark.fem
@pytest.mark.parametrize("count", counts(2, 10))
def test_disk_full_for_every_verb(tmp_path: Path, count: int) -> None:
    few = ("export-data, The Well", "predict, .nc")
    (tmp_path / "limits").mkdir()
    (tmp_path / "space").mkdir()
    space = full_disks.Disk.can_be(tmp_path / "space")
    rows = []
    if count > 2 or not space:
        only = few if count == 2 else ()
        rows += full_disks.battery(tmp_path / "limits", count, only)
    if space:
        only = few if count == 2 else ()
        rows += full_disks.battery(tmp_path / "space", count, only, disk=True)
    for name, found in rows:
        assert found["offsets"] == count
        assert found["one line, code 2"] + found["not needed"] == count, name
        assert not found["crashed"] and not found["left something"], name
        assert found.get("went on", count) == count, name


@pytest.mark.parametrize("count", counts(2, 10))
def test_two_writers(tmp_path: Path, count: int) -> None:
    assert set(kills.two_writers(tmp_path, count).values()) == {count}


@pytest.mark.parametrize("share", counts(60, 1))
def test_corruption(tmp_path: Path, share: int) -> None:
    amounts = {name: max(2, n // share) for name, n in corruption.FULL.items()}
    for name, outcomes in corruption.battery(tmp_path, amounts):
        assert outcomes["silent"] == outcomes["crashed"] == outcomes["hung"] == 0, name
        assert outcomes["refused"] > 0, name


@pytest.mark.parametrize("every", counts(50, 1))
def test_hostile_files(tmp_path: Path, every: int) -> None:
    for verdict in hostile.battery(tmp_path, every):
        assert verdict.passed, verdict


@pytest.mark.fem  # the process that forks loads meshio
@pytest.mark.parametrize("count", counts(2, 300))
def test_edited_values(tmp_path: Path, count: int) -> None:
    only = ("meshes per sample",) if count == 2 else ()
    for name, found in edited_values.battery(tmp_path, count, only=only):
        right = ("files", "did their work", "one line")
        assert not any(v for k, v in found.items() if k not in right), name


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_odd_files_everywhere(tmp_path: Path) -> None:
    for name, found in odd_places.battery(tmp_path):
        right = ("command lines", "did their work", "one line")
        assert not any(v for k, v in found.items() if k not in right), name


@pytest.mark.parametrize("count", counts(3, 300))
def test_mutated_files(tmp_path: Path, count: int) -> None:
    fast = () if count == 300 else ("npz", "mat", "netCDF-4", "csv", "data file")
    for name, found in mutated.battery(tmp_path, count, only=fast):
        wrong = {k: found[k] for k in ("untyped", "crashed", "hung", "canaries")}
        assert not any(wrong.values()), (name, wrong)
        if name in mutated.CHECKED:
            assert not found["other values"], name
