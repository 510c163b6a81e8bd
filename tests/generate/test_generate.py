"""Generation: the same content for any workers and interruptions, nothing wrong stored.

The toy solver is exact and takes microseconds, so that what is tested is the factory.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opkit.case.data import draw
from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.errors import (
    CaseError,
    DataError,
    NonFiniteError,
    NotConvergedError,
    OpkitInputError,
    SolverError,
)
from opkit.generate import Progress, generate, plan
from opkit.generate import run as run_module
from opkit.generate.assemble import solving_seconds
from opkit.generate.shard import Shard

Heat = Callable[..., Case]


def test_file_holds_what_the_solver_says(heat: Heat, tmp_path: Path) -> None:
    case = heat()
    path = generate(case, tmp_path / "heat.h5", seed=5)
    solver = case.build_solver()
    with DataFile(path) as file:
        assert len(list(file.verify())) == len(file) == 12
        assert file.content_hash() == file.stored_hash()
        assert {k: len(v) for k, v in file.header.splits.items()} == {
            "train": 8,
            "validation": 2,
            "test": 2,
        }
        assert file.header.case == case.dump()
        assert file.measure == "relative error"
        assert file.diagnostics()["steps"].tolist() == [4.0] * 12
        for row in (0, 7, 11):
            inputs = draw(case, solver, 5, row, "float32")
            batch = {name: values[None] for name, values in inputs.items()}
            exact = solver.solve(batch).outputs["temperature"][0]
            stored = file.read("temperature", row)
            assert stored.dtype == np.float32
            np.testing.assert_array_equal(stored, exact.astype(np.float32))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heat.h5"]


def test_same_content_for_any_number_of_workers(heat: Heat, tmp_path: Path) -> None:
    hashes = set()
    for workers in (1, 2, 4, 5):
        path = generate(
            heat(), tmp_path / f"{workers}.h5", workers=workers, samples=100
        )
        with DataFile(path) as file:
            hashes.add(file.content_hash())
    assert len(hashes) == 1
    with DataFile(generate(heat(), tmp_path / "s.h5", seed=1, samples=100)) as file:
        assert file.content_hash() not in hashes


def test_same_content_in_any_order(
    heat: Heat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DataFile(generate(heat(), tmp_path / "a.h5", samples=100)) as file:
        expected = file.content_hash()
    in_order = run_module._tasks
    orders = []

    def shuffled(*arguments: Any) -> list[Any]:
        tasks = in_order(*arguments)
        np.random.default_rng(3).shuffle(tasks)
        orders.append([task.first for task in tasks])
        return tasks

    monkeypatch.setattr(run_module, "_tasks", shuffled)
    with DataFile(generate(heat(), tmp_path / "b.h5", samples=100)) as file:
        assert file.content_hash() == expected
    assert orders[0] != sorted(orders[0])


def test_compression_does_not_change_the_content(heat: Heat, tmp_path: Path) -> None:
    plain = generate(heat(32), tmp_path / "plain.h5")
    small = generate(heat(32), tmp_path / "small.h5", gzip=4)
    with DataFile(plain) as a, DataFile(small) as b:
        assert a.content_hash() == b.content_hash()
        assert len(list(b.verify())) == 12


def test_double_precision_is_stored_on_request(heat: Heat, tmp_path: Path) -> None:
    path = generate(heat(), tmp_path / "double.h5", dtype="float64")
    with DataFile(path) as file:
        assert file.read("temperature", 0).dtype == np.float64
        residual = (
            heat()
            .build_solver()
            .residual(
                {"initial_temperature": file.read("initial_temperature", slice(0, 4))},
                {"temperature": file.read("temperature", slice(0, 4))},
            )
        )
        assert residual.max() < 1e-13  # a few roundings of float64


def test_a_file_says_what_its_samples_cost(heat: Heat, tmp_path: Path) -> None:
    with DataFile(generate(heat(), tmp_path / "a.h5", samples=70)) as file:
        assert file.header.provenance["generation_seconds"] > 0
        assert file.content_hash() == file.stored_hash()


def shard(first: int, last: int, seconds: float) -> Shard:
    return Shard("shard", first, last, "", 0.0, solve_processor_seconds=seconds)


def test_seconds_of_shards_by_hand() -> None:
    whole = [shard(0, 32, 2.0), shard(32, 64, 3.0)]
    assert solving_seconds(whole) == {"generation_seconds": 5.0}
    assert solving_seconds(whole, ranks=4) == {"generation_seconds": 20.0}
    # 16 adopted samples beside 64 that took 5 s
    adopted = [*whole, shard(64, 80, 0.0)]
    assert solving_seconds(adopted) == {"generation_seconds": 6.25}
    assert solving_seconds([shard(0, 5, 0.0)]) == {}


class Stopped(Exception):
    pass


def stop_after(count: int) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        if progress.done >= count:
            raise Stopped

    return listen


def test_resume_goes_on_and_gives_the_same(heat: Heat, tmp_path: Path) -> None:
    case = heat(delay=0.002)
    whole = generate(case, tmp_path / "whole.h5", samples=200)
    out = tmp_path / "cut.h5"
    with pytest.raises(Stopped):
        generate(case, out, samples=200, progress=stop_after(60))
    assert not out.exists()
    with pytest.raises(DataError, match="--resume"):
        generate(case, out, samples=200)
    with pytest.raises(DataError, match="another case, seed"):
        generate(case, out, samples=200, seed=1, resume=True)
    events: list[Progress] = []
    generate(case, out, samples=200, resume=True, progress=events.append)
    assert 32 <= events[0].resumed < 200
    assert events[-1].done == events[-1].total == 200
    with DataFile(whole) as a, DataFile(out) as b:
        assert a.content_hash() == b.content_hash()
    assert generate(case, out, samples=200, resume=True) == out  # nothing left to do
    with pytest.raises(DataError, match="exists already"):
        generate(case, out, samples=200)


WHOLE: list[str] = []  # content hash of the uninterrupted generation


@pytest.mark.parametrize("damage", ["flip", "cut", "unlisted", "foreign", "torn line"])
def test_resume_redoes_what_is_damaged(heat: Heat, tmp_path: Path, damage: str) -> None:
    case = heat(delay=0.002)
    if not WHOLE:
        with DataFile(generate(case, tmp_path / "whole.h5", samples=200)) as file:
            WHOLE.append(file.content_hash())
    out = tmp_path / "cut.h5"
    with pytest.raises(Stopped):
        generate(case, out, samples=200, progress=stop_after(100))
    folder = Path(f"{out}.parts")
    shard = sorted(folder.glob("shard-*.h5"))[0]
    manifest = folder / "manifest.jsonl"
    content = bytearray(shard.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    elif damage == "cut":
        shard.write_bytes(content[:-100])
    elif damage == "unlisted":
        lines = manifest.read_text().splitlines(keepends=True)
        manifest.write_text(lines[0])
    elif damage == "foreign":
        shard.write_bytes(b"not HDF5")
        manifest.write_text(manifest.read_text().splitlines(keepends=True)[0])
    else:
        manifest.write_text(manifest.read_text()[:-20])
    events: list[Progress] = []
    generate(case, out, samples=200, resume=True, progress=events.append)
    assert events[0].resumed > 0  # the other shards were kept
    with DataFile(out) as file:
        assert len(list(file.verify())) == 200
        assert [file.content_hash()] == WHOLE


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_shard_damaged_before_the_end_is_caught(
    heat: Heat, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "a.h5"

    def strike(progress: Progress) -> None:
        if progress.stage == "solving":
            return
        shard = sorted(Path(f"{out}.parts").glob("shard-*.h5"))[-1]
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content if damage == "flip" else content[:-100])
        if damage == "gone":
            shard.unlink()

    with pytest.raises(DataError, match=r"shard-000001.h5: damaged: .* --resume"):
        generate(heat(), out, samples=64, progress=strike)
    assert not out.exists()
    generate(heat(), out, samples=64, resume=True)
    with DataFile(out) as file:
        assert len(list(file.verify())) == 64


@pytest.mark.parametrize("workers", [1, 2])
def test_nan_is_never_stored(heat: Heat, tmp_path: Path, workers: int) -> None:
    case = heat(fault="nan", at=(5,))
    with pytest.raises(NonFiniteError) as caught:
        generate(case, tmp_path / "nan.h5", seed=3, workers=workers)
    assert caught.value.seed == (3, 5)
    assert not (tmp_path / "nan.h5").exists()


def test_not_converged_is_an_error_with_its_seed(heat: Heat, tmp_path: Path) -> None:
    with pytest.raises(NotConvergedError, match="told not to") as caught:
        generate(heat(fault="refuse", at=(9, 11)), tmp_path / "bad.h5", seed=3)
    assert caught.value.seed == (3, 9)


def test_a_failure_keeps_finished_shards_and_else_leaves_nothing(
    heat: Heat, tmp_path: Path
) -> None:
    with pytest.raises(NotConvergedError):
        generate(heat(fault="refuse", at=(0,)), tmp_path / "first.h5", samples=200)
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotConvergedError):
        generate(heat(fault="refuse", at=(150,)), tmp_path / "late.h5", samples=200)
    assert list((tmp_path / "late.h5.parts").glob("shard-*.h5"))


def test_poison_sample_stops_after_three_tries(heat: Heat, tmp_path: Path) -> None:
    with pytest.raises(SolverError, match="killed its worker 3 times") as caught:
        generate(heat(fault="die", at=(6,)), tmp_path / "bad.h5", seed=2)
    assert caught.value.seed == (2, 6)


def test_dead_worker_is_replaced(heat: Heat, tmp_path: Path) -> None:
    note = tmp_path / "died"
    case = heat(fault="exit-once", at=(6,), note=str(note))
    path = generate(case, tmp_path / "good.h5", workers=2)
    assert note.exists()
    with DataFile(path) as file:
        assert len(list(file.verify())) == 12


def test_out_of_memory_is_one_line(heat: Heat, tmp_path: Path) -> None:
    with pytest.raises(OpkitInputError, match="fewer workers"):
        generate(heat(fault="memory", at=(1,)), tmp_path / "bad.h5")


def test_second_writer_is_refused(heat: Heat, tmp_path: Path) -> None:
    out = tmp_path / "one.h5"
    refused = []

    def intrude(_: Progress) -> None:
        with pytest.raises(DataError, match="another process") as caught:
            generate(heat(), out, resume=True)
        refused.append(caught.value)

    generate(heat(), out, progress=intrude)
    assert refused
    with DataFile(out) as file:
        assert len(list(file.verify())) == 12


def test_plan_says_what_will_come(heat: Heat, tmp_path: Path) -> None:
    planned = plan(heat(64), samples=120)
    path = generate(heat(64), tmp_path / "a.h5", samples=120)
    assert planned.samples == 120
    size = path.stat().st_size
    assert 0.95 * size < planned.file_bytes < 1.1 * size
    raw = 120 * 5 * 64 * 64 * 4
    assert size < 1.02 * raw  # what the format costs


def test_impossible_requests(
    heat: Heat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.h5"
    with pytest.raises(OpkitInputError, match="at least one"):
        generate(heat(), out, workers=0)
    with pytest.raises(CaseError, match="seed"):
        generate(heat(), out, seed=-1)
    with pytest.raises(CaseError, match="at least one"):
        generate(heat(), out, samples=0)
    with pytest.raises(OpkitInputError, match="gzip"):
        generate(heat(), out, gzip=11)
    usage = run_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        run_module.shutil, "disk_usage", lambda _: usage._replace(free=1000)
    )
    with pytest.raises(DataError, match="GB free"):
        generate(heat(), out)
    assert not out.exists()


def test_wrong_shape_from_a_solver_is_refused(heat: Heat, tmp_path: Path) -> None:
    case = heat()
    wrong = replace_dims(case)
    with pytest.raises(OpkitInputError, match="temperature with shape"):
        generate(wrong, tmp_path / "a.h5")


def replace_dims(case: Case) -> Case:
    data = case.dump()
    data["outputs"][0]["dims"] = ["y", "x"]
    return Case.model_validate(json.loads(json.dumps(data)))
