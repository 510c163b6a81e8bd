"""What a run leaves that ends before its time: finished epochs, or nothing."""

import pytest

from opkit.errors import Interrupted, OpkitInputError
from opkit.generate import Progress, generate
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import Epoch, Step, TrainingError, train
from opkit.train.loop import checkpoint, loop


def interrupted(at):
    """Return a listener that presses Ctrl-C at the first event that `at` accepts."""

    def listen(event):
        if at(event):
            raise KeyboardInterrupt

    return listen


@pytest.fixture
def quick_saving(monkeypatch):
    """Let no checkpoint take too long: epochs of these tests take milliseconds."""
    monkeypatch.setattr(loop, "CHECKPOINT_PART", float("inf"))


def test_ctrl_c_in_epoch_4_keeps_the_first_three(
    tmp_path, make_data, runs, quick_saving
):
    data, run = make_data(), tmp_path / "run"
    stop = interrupted(lambda e: isinstance(e, Step) and e.epoch == 4)
    with pytest.raises(Interrupted, match=r"epochs 1 to 3 of 4 are kept") as caught:
        train(data, run, progress=stop)
    assert f"opkit train --resume {run}" in str(caught.value)
    assert checkpoint.finished(run / "checkpoints") == 3
    train(data, run, resume=True)
    train(data, tmp_path / "whole")
    runs.assert_equal(run, tmp_path / "whole")  # bit for bit


@pytest.mark.parametrize("end", [KeyboardInterrupt, MemoryError])
def test_an_end_in_the_first_epoch_leaves_nothing(tmp_path, make_data, end):
    data, run = make_data(), tmp_path / "run"

    def stop(event):
        if isinstance(event, Step):
            raise end

    with pytest.raises(end):
        train(data, run, progress=stop)
    assert not run.exists()
    train(data, run, overrides=["training.epochs=1"])  # the same name can be tried


def test_files_of_others_stay(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.create({"recipe": {}})
    (directory.path / "notes.txt").write_text("mine")
    directory.discard()
    assert [p.name for p in directory.path.iterdir()] == ["notes.txt"]


def test_a_run_whose_first_epoch_failed_is_replaced(tmp_path, make_data):
    data, run = make_data(), tmp_path / "run"
    with pytest.raises(TrainingError):
        train(data, run, overrides=["training.learning_rate=1e30"])
    assert RunDirectory(run).events()[-1]["event"] == "failed"
    train(data, run, overrides=["training.epochs=1"])
    assert [e["event"] for e in RunDirectory(run).events()] == ["started", "finished"]


def test_fewer_epochs_than_are_finished_are_refused(tmp_path, make_data):
    data, run = make_data(), tmp_path / "run"
    train(data, run)
    with pytest.raises(OpkitInputError, match=r"has finished 4 epochs: .*epochs=3"):
        train(data, run, overrides=["training.epochs=3"], resume=True)


def test_ctrl_c_while_data_are_made(tmp_path, heat):
    """Before a shard is finished nothing is left; after it, --resume goes on."""
    first = interrupted(lambda e: isinstance(e, Progress))
    with pytest.raises(Interrupted, match="nothing is kept"):
        generate(heat(), tmp_path / "a.h5", samples=60, progress=first)
    assert not list(tmp_path.iterdir())
    later = interrupted(lambda e: (tmp_path / "b.h5.parts/shard-000000.h5").exists())
    with pytest.raises(Interrupted, match=r"\d+ of \d+ shards are kept .*--resume"):
        generate(heat(), tmp_path / "b.h5", samples=60, progress=later)
    generate(heat(), tmp_path / "b.h5", samples=60, resume=True)


def test_epochs_are_kept_as_they_end(tmp_path, make_data, quick_saving):
    epochs = []

    def listen(event):
        if isinstance(event, Epoch):
            epochs.append(checkpoint.finished(tmp_path / "run/checkpoints"))

    train(make_data(), tmp_path / "run", progress=listen)
    assert epochs == [0, 1, 2, 3]  # of the epochs before
