"""The benchmarks of docs/parameters.md, at their tiniest, and what they go on with."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import coverage, darcy_numbers, ragged, viscosity
from benchmarks.resumable import Rows
from opkit.generate.worker import run_task

TINY = ["--validation", "4", "--test", "2"]


class Here:
    """A worker that is this process: no start to wait for."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """Carry a task out now."""
        done: Future[dict[str, Any]] = Future()
        done.set_result(run_task(task))
        return done

    def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Run a benchmark twice: the second time it makes nothing; return its rows."""
    monkeypatch.setattr("opkit.generate.pools.LocalWorkers", Here)

    def rows(main: Callable[[], None], *options: str) -> dict[str, Any]:
        threads = torch.get_num_threads()
        monkeypatch.setattr(sys, "argv", ["benchmark", str(tmp_path), *options])
        main()
        first = capsys.readouterr().out
        monkeypatch.setattr("benchmarks.resumable.train", None)
        monkeypatch.setattr("benchmarks.resumable.generate", None)
        main()
        torch.set_num_threads(threads)
        assert capsys.readouterr().out == first
        found: dict[str, Any] = json.loads((tmp_path / "rows.json").read_text())
        return found

    return rows


@pytest.mark.slow
def test_viscosities_beyond_those_learnt_are_flagged(
    table: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viscosity, "TRAINED", (1e-4,))
    monkeypatch.setattr(viscosity, "ASKED", (3e-6, 1e-4, 5e-3))
    sizes = ["--resolution", "16", "--samples", "12", "--epochs", "1"]
    model = ["--model", "model.n_modes=[4,4]", "model.hidden_channels=4"]
    rows = table(viscosity.main, *TINY, *sizes, *model)
    assert [rows[v]["flagged"] for v in ("3e-06", "0.0001", "0.005")] == [1, 0, 1]
    assert {"mixed", "0.0001", "initial"} < set(rows["0.005"])


@pytest.mark.slow
def test_mionet_of_one_vector_is_the_deeponet(
    table: Callable[..., dict[str, Any]],
) -> None:
    sizes = ["--resolution", "17", "--samples", "20", "--steps", "3", "--seeds", "1"]
    operators = ["--operators", "deeponet", "mionet", "pod-gp"]
    rows = table(darcy_numbers.main, *TINY, *sizes, *operators)
    assert rows["mionet 20 0"]["error"] == rows["deeponet 20 0"]["error"]
    assert 0 < rows["pod-gp 20 0"]["error"] < rows["pod-gp 20 0"]["mean"]


def test_bounds_that_hold_are_counted(table: Callable[..., dict[str, Any]]) -> None:
    """With 20 calibration samples both promises are the largest or second largest."""
    sizes = ["--train", "12", "--validation", "40", "--fresh", "20", "--repeats", "1"]
    row = table(coverage.main, "--resolution", "9", *sizes)["repeat 0"]
    assert coverage.law(row, 0.9) == (20, 19, 2)
    assert coverage.law(row, 0.95) == (20, 20, 1)
    for name, held in row["held"]["0.95"].items():
        assert 20 >= held >= row["held"]["0.9"][name] >= 10


def test_intervals_of_shares() -> None:
    """None of n: 0 to 1 - 0.025^(1/n); all of n is its mirror."""
    high = 1 - 0.025 ** (1 / 30)
    assert coverage.interval(0, 30) == pytest.approx((0, high), abs=1e-12)
    assert coverage.interval(30, 30) == pytest.approx((1 - high, 1), abs=1e-12)


def test_waiting_for_ragged_data(capsys: pytest.CaptureFixture[str]) -> None:
    """Every epoch is noted, the one that the loop breaks off included."""
    ragged.training(10, ["transolver"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "transolver from memory: 9 samples",
        "transolver from file: 9 samples",
    ]


def test_a_row_that_fails_leaves_the_others(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.json")
    rows.row("one", lambda: {"error": 0.5})
    with pytest.raises(ZeroDivisionError):
        rows.row("two", lambda: {"error": 1 / 0})
    assert Rows(tmp_path / "rows.json").by_name.keys() == {"one"}
