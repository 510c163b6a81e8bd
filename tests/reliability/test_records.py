"""Records of a run and lists of folders from anywhere: typed, bounded, nothing lost."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import opkit
from opkit.base import aside, children, compiler, files
from opkit.datasets.write import Writer
from opkit.discover.library import spectral_library
from opkit.errors import BundleError, DataError, OpkitError, OpkitInputError
from opkit.evaluate.koopman import modes
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle import run_directory
from opkit.surrogate.bundle.run_directory import COLUMNS, RunDirectory
from opkit.templates import write_project
from opkit.train import train
from opkit.train.loop import checkpoint
from opkit.train.loop.guards import TrainingError
from opkit.train.tune import tune

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "bundles" / "fno"
ROW = dict.fromkeys(COLUMNS, 1.0)


@pytest.mark.parametrize(
    "line", ["x" * 200_000, "-inf,1,1,1,1,1", "nan,1,1,1,1,1", '"', "2,1", "1e999"]
)
def test_lines_of_metrics_that_no_run_writes_are_left_out(
    tmp_path: Path, line: str
) -> None:
    """csv refuses cells of over 128 kB, and no infinity is a number of epochs."""
    run = RunDirectory(tmp_path)
    run.add_metrics(ROW)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(line + "\n")
    run.add_metrics({**ROW, "epoch": 2})
    assert [row["epoch"] for row in run.metrics()] == [1, 2]
    run.cut_metrics(1)
    assert run.metrics() == [ROW]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": ["d.h5"]}, "data: "),
        ({"seed": "zero"}, "seed: "),
        ({"more": 3}, "more: "),
        ({"recipe": None}, "recipe: "),
        ({"start": {}}, "start: "),
    ],
)
def test_a_config_of_other_kinds_is_damaged(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    config = {"data": "d.h5", "seed": 0, "recipe": {"operator": "fno"}, **changed}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(BundleError, match=rf"config.yaml: damaged, {message}"):
        RunDirectory(tmp_path).config()


def test_a_run_with_another_recipe_or_state_is_not_resumed(
    tmp_path: Path, make_data: Any
) -> None:
    """Checksums made right, as whoever changes a file on purpose does."""
    data, run = make_data(), tmp_path / "run"
    train(data, run, operator="fno")

    def resume() -> None:
        train(data, run, resume=True, overrides=["training.epochs=9"])

    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("operator: fno", "operator: [fno]"))
    with pytest.raises(BundleError, match=r"config.yaml: recipe.operator: "):
        resume()
    (run / "config.yaml").write_text(text)
    epoch, state = checkpoint.load(run / "checkpoints") or (0, {})
    for name, value in {
        "model": {},
        "rng": torch.zeros(3),
        "optimiser": {"state": {}},
        "state": {**state["state"], "epoch": "three"},
    }.items():
        checkpoint.save(run / "checkpoints", epoch, {**state, name: value})
        with pytest.raises(BundleError, match="holds no state of this training"):
            resume()
    del state["optimiser"]
    checkpoint.save(run / "checkpoints", epoch, state)
    with pytest.raises(BundleError, match="start a new run"):
        resume()


def test_training_whose_validation_errors_are_not_finite(
    tmp_path: Path, make_data: Any
) -> None:
    """Validation inputs so large that the network overflows: no weights are best."""

    def large(a: Any, u: Any) -> None:
        a[24:32] *= 1e37

    data = make_data(edit=large)
    with pytest.raises(TrainingError, match="finite after no epoch"):
        train(data, tmp_path / "run")


@pytest.mark.parametrize("epoch", ["Infinity", "-3", "[3]", "[" * 100_000])
def test_a_manifest_whose_epoch_is_no_number(tmp_path: Path, epoch: str) -> None:
    (tmp_path / checkpoint.MANIFEST).write_text(
        f'{{"format_version": 1, "epoch": {epoch}}}'
    )
    assert checkpoint.finished(tmp_path) == 0
    with pytest.raises(BundleError, match="damaged"):
        checkpoint.load(tmp_path)


def test_a_run_that_is_replaced_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "home"
    mine.mkdir()
    (mine / "manifest.json").write_text("mine")
    run = RunDirectory(tmp_path / "run")
    run.create({"recipe": {}})
    checkpoint.save(run.checkpoints, 1, {})
    (run.checkpoints / "thesis.txt").write_text("mine")
    (run.path / "tensorboard").symlink_to(mine)
    run.discard()
    left = {str(p.relative_to(run.path)) for p in run.path.rglob("*")}
    assert left == {"checkpoints", "checkpoints/thesis.txt", "tensorboard"}
    assert (mine / "manifest.json").read_text() == "mine"


def test_figures_and_logs_go_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "figures").symlink_to("/tmp")
    with pytest.raises(DataError, match="figures: is a link"):
        _ = RunDirectory(tmp_path).figures


def test_no_output_replaces_a_file_of_the_run_that_is_read(tmp_path: Path) -> None:
    for name in ("config.yaml", "bundle/config.json", "checkpoints/manifest.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").hardlink_to(path)
        for target in (path, tmp_path / "link"):
            with pytest.raises(DataError, match="read as input"):
                known = run_directory.files_of(tmp_path)
                files.check_target(target, known, force=True)
    (tmp_path / "report.html").write_text("")
    inputs = run_directory.files_of(tmp_path)
    files.check_target(tmp_path / "report.html", inputs, force=True)


def test_lists_of_folders_have_no_empty_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one is the current folder, and what lies there would run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/x::/y:")
    monkeypatch.setenv("PATH", ":/usr/bin")
    monkeypatch.setenv("CPATH", ":")
    variables = children.environment()
    assert variables["LD_LIBRARY_PATH"] == "/x:/y"
    assert variables["PATH"] == "/usr/bin" and "CPATH" not in variables
    aside.refuse_libraries("/x::/y")
    (tmp_path / "glibc-hwcaps").mkdir()
    (tmp_path / "glibc-hwcaps" / "libm.so.6").write_text("")
    for loader in ("", "/x:/y"):
        aside.refuse_libraries(loader)
    for loader in (":/x", "/x;;/y", "/x:"):
        with pytest.raises(DataError, match=r"libm.so.6: .*LD_LIBRARY_PATH"):
            aside.refuse_libraries(loader)


@pytest.mark.parametrize("way", ["own", "others may write", "link", "here"])
def test_what_torch_compiles_is_kept_where_only_this_user_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """torch unpickles what it finds in its cache."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"torchinductor_{os.geteuid()}"
    if way == "others may write":
        usual.mkdir()
        usual.chmod(0o777)
    elif way == "link":
        (tmp_path / "other").mkdir()
        usual.symlink_to("other")
    elif way == "here":
        monkeypatch.chdir(tmp_path)
    compiler.private_cache()
    cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert (cache == usual) == (way == "own")
    assert cache.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "named")
    compiler.private_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "named"


@pytest.mark.parametrize("name", ["numpy", "tests", "json", "opkit"])
def test_a_project_has_no_name_of_a_module(tmp_path: Path, name: str) -> None:
    """Once installed it would be imported in place of numpy."""
    with pytest.raises(OpkitError, match="exists already"):
        write_project("plugin", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_without_bounds_are_refused_before_memory_is_taken() -> None:
    axis = np.arange(8.0)
    for powers, derivatives in ((10**9, 4), (4, 10**5), (-1, 4)):
        with pytest.raises(OpkitInputError, match="from 0 to 20"):
            spectral_library((axis,), (8.0,), powers, derivatives)


def test_modes_of_values_whose_squares_are_out_of_range() -> None:
    states = np.random.default_rng(0).random((6, 5, 8))
    usual = modes(states, 1.0)
    for factor in (1e200, 1e-200):
        scaled = modes(factor * states, 1.0)
        np.testing.assert_allclose(  # rounding of the factor
            np.abs(scaled.eigenvalues), np.abs(usual.eigenvalues), rtol=1e-6
        )


def test_a_store_on_a_disk_that_is_full_while_old_samples_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error holds a part of the old file's bytes, which is not to hide it."""
    surrogate = opkit.load(GOLDEN)
    field = 1 + np.linspace(0, 1, 81).reshape(9, 9)
    store = tmp_path / "s.h5"
    surrogate.solve(field, exact=True, store=store)
    before = store.read_bytes()

    def full(writer: Any, rows: slice, source: Any, content: memoryview) -> None:
        part = content[:9]
        raise OSError(errno.ENOSPC, "no space", len(part))

    monkeypatch.setattr(Writer, "copy", full)
    with pytest.raises(DataError, match="the disk is full"):
        surrogate.solve(2 * field, exact=True, store=store)
    assert store.read_bytes() == before
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"s.h5", ".s.h5.lock"}


def test_a_bundle_that_is_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old record, new weights: neither damaged nor mixed, but the new bundle."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))
    config, weights = bundle.read(folder)
    twice = {name: 2 * weight for name, weight in weights.items()}
    real, replaced = bundle.read_regular, []

    def read_regular(path: Path, most: int | None = None) -> bytes:
        if path.name == bundle.WEIGHTS and not replaced:
            replaced.append(path)
            bundle.write(folder, config, twice, "card")
        return real(path, most)

    monkeypatch.setattr(bundle, "read_regular", read_regular)
    new = bundle.read(folder)[1]
    assert replaced and all(torch.equal(new[k], w) for k, w in twice.items())


def test_who_is_killed_at_the_exchange_has_lost_no_file_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old folder holds beside is in the new one before it gets its name."""
    old = tmp_path / "bundle"
    (old / "notes").mkdir(parents=True)
    for name in ("config", "mine", "notes/inside"):
        (old / name).write_text("old")
    (old / "link").symlink_to("mine")
    real = files._rename

    def die(*words: Any) -> None:
        real(*words)
        raise MemoryError

    monkeypatch.setattr(files, "_rename", die)
    with pytest.raises(MemoryError), files.appearing_folder(old) as new:
        (new / "config").write_text("new")
    files.sweep(tmp_path)
    assert (old / "config").read_text() == "new"
    left = {str(p.relative_to(tmp_path)): p.read_text() for p in old.rglob("m*")}
    assert left == {"bundle/mine": "old"}
    assert (old / "notes" / "inside").read_text() == "old"
    assert os.readlink(old / "link") == "mine"


def test_nobody_replaces_a_run_or_search_of_another_process(
    tmp_path: Path, make_data: Any
) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create({"recipe": {}})
    run.log("failed", reason="loss")
    with run.held(), pytest.raises(DataError, match="another process trains there"):
        RunDirectory(run.path).create({"recipe": {}})
    assert run.events()
    RunDirectory(run.path).create({"recipe": {}})
    assert not run.events()
    pytest.importorskip("optuna")
    search = "search={training.learning_rate: {low: 1e-4, high: 1e-2}}"
    (tmp_path / "search").mkdir()
    with (
        files.locked(tmp_path / "search" / run_directory.LOCK),
        pytest.raises(DataError, match="another process searches there"),
    ):
        tune(
            make_data(), tmp_path / "search", operator="fno", trials=1,
            overrides=[search],
        )  # fmt: skip
