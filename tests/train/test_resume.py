"""The same seed gives the same bits, also after interruptions of any kind."""

import json
import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from opkit.cli import app
from opkit.errors import BundleError, OpkitInputError
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import Epoch, train
from opkit.train.loop import checkpoint, loop

RICH = [  # everything that has state or randomness
    "training.ema=0.9",
    "training.clip_norm=1",
    "training.symmetries=[flip_x, shift, transpose]",
    "training.accumulate=2",
    "training.schedule=cosine",
]


def test_same_seed_same_bits_and_another_seed_another_result(tmp_path, make_data, runs):
    data = make_data()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(data, tmp_path / name, operator="fno", overrides=RICH, seed=seed)
    runs.assert_equal(tmp_path / "a", tmp_path / "b")
    assert runs.columns(tmp_path / "a") != runs.columns(tmp_path / "c")


@pytest.mark.parametrize("extra", [[], RICH], ids=["plain", "rich"])
def test_two_plus_three_epochs_equal_five_bit_for_bit(
    tmp_path, make_data, monkeypatch, extra, runs
):
    data = make_data()
    overrides = ["training.epochs=5", *extra]
    train(data, tmp_path / "whole", operator="fno", overrides=overrides)

    class Stop(Exception):
        pass

    def stop(event):
        if isinstance(event, Epoch) and event.epoch == 4:
            raise Stop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Stop):
        train(
            data, tmp_path / "cut", operator="fno", overrides=overrides, progress=stop
        )
    # stopped in epoch 4, after its line in metrics.csv and before its checkpoint
    assert checkpoint.load(tmp_path / "cut" / "checkpoints")[0] == 3
    assert len(RunDirectory(tmp_path / "cut").metrics()) == 4
    torch.rand(7)  # the caller's generator must not matter
    train(data, tmp_path / "cut", operator="fno", overrides=overrides, resume=True)
    runs.assert_equal(tmp_path / "whole", tmp_path / "cut")


def test_a_run_is_not_overwritten_and_resuming_needs_the_same_data(tmp_path, make_data):
    data = make_data()
    train(data, tmp_path / "run", operator="fno")
    with pytest.raises(OpkitInputError, match="--resume"):
        train(data, tmp_path / "run", operator="fno")
    other = make_data("other.h5", seed=1)
    with pytest.raises(OpkitInputError, match=r"data\.h5"):
        train(other, tmp_path / "run", operator="fno", resume=True)
    with pytest.raises(BundleError, match="not a run directory"):
        train(data, tmp_path / "none", operator="fno", resume=True)


def test_more_epochs_can_be_asked_of_a_finished_run(tmp_path, make_data, runs):
    data, run = make_data(), tmp_path / "run"
    constant = ["training.schedule=constant"]
    train(data, run, operator="fno", overrides=[*constant, "training.epochs=3"])
    more = [*constant, "training.epochs=5"]
    train(data, run, operator="fno", overrides=more, resume=True)
    train(data, tmp_path / "whole", operator="fno", overrides=more)
    runs.assert_equal(run, tmp_path / "whole")


def test_resuming_keeps_the_settings_of_the_first_start(tmp_path, make_data, runs):
    data, run = make_data(), tmp_path / "run"
    first = ["training.epochs=2", "model.hidden_channels=6"]
    train(data, run, operator="fno", overrides=first)
    epochs = len(runs.columns(run))
    train(data, run, resume=True)  # neither operator nor settings are asked again
    assert len(runs.columns(run)) == epochs
    with pytest.raises(OpkitInputError, match=r"hidden_channels=7: --resume keeps"):
        train(data, run, overrides=["model.hidden_channels=7"], resume=True)
    with pytest.raises(OpkitInputError, match="trains fno, not unet"):
        train(data, run, operator="unet", resume=True)
    assert len(runs.columns(run)) == epochs
    more = ["train", "--resume", str(run), "--set", "training.epochs=3", "-q"]
    result = CliRunner().invoke(app, more)  # the run directory knows its data
    assert result.exit_code == 0, result.output
    assert len(runs.columns(run)) == 3
    data.unlink()
    result = CliRunner().invoke(app, more)
    assert isinstance(result.exception, OpkitInputError)
    assert "the data of" in str(result.exception)


def test_damaged_checkpoint_is_said(tmp_path, make_data):
    data, run = make_data(), tmp_path / "run"
    train(data, run, operator="fno")
    (file,) = (run / "checkpoints").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        train(data, run, operator="fno", resume=True)
    manifest = json.loads((run / "checkpoints" / "manifest.json").read_text())
    manifest["file"] = "../config.yaml"
    (run / "checkpoints" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json: damaged"):
        train(data, run, operator="fno", resume=True)
    del manifest["manifest_sha256"]  # as of format 1, which has no checksum
    manifest["format_version"] = 1
    (run / "checkpoints" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="outside"):
        train(data, run, operator="fno", resume=True)


def other_shape(state: Any) -> None:
    state["optimiser"]["state"][0]["exp_avg"] = torch.zeros(2)


def other_name(state: Any) -> None:
    kept = state["optimiser"]["state"][1]
    kept["momentum_buffer"] = kept.pop("exp_avg_sq")


def one_more(state: Any) -> None:
    kept = state["optimiser"]["state"]
    kept[len(kept)] = kept[0]


FAULTS: dict[str, Callable[[Any], object]] = {
    "a tensor less": lambda state: state["optimiser"]["state"][0].pop("exp_avg"),
    "another name": other_name,
    "another shape": other_shape,
    "a parameter more": one_more,
    "no average": lambda state: state["state"]["averaged"].clear(),
    "an average less": lambda state: state["state"]["averaged"].popitem(),
    "a best weight less": lambda state: state["state"]["best_weights"].popitem(),
    "a loss scaler": lambda state: state["scaler"].update(scale=2.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_state_of_another_training_is_said(fault, tmp_path, make_data):
    """A checkpoint whose checksums are right may still hold anything."""
    data, run = make_data(), tmp_path / "run"
    once = ["training.epochs=1", "training.ema=0.9"]
    train(data, run, operator="fno", overrides=once)
    epoch, state = checkpoint.load(run / "checkpoints")
    FAULTS[fault](state)
    checkpoint.save(run / "checkpoints", epoch, state)
    with pytest.raises(BundleError, match="holds no state of this training"):
        train(data, run, resume=True, overrides=["training.epochs=2"])


def train_alone(data: Path, run: Path, overrides: list[str], resume: bool) -> None:
    """Train in a forked process, with a checkpoint every epoch."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0.0
    train(data, run, operator="fno", overrides=overrides, resume=resume)


def run_and_kill(
    data: Path, run: Path, epoch: int, delay: float, overrides: list[str]
) -> bool:
    """Train; kill -9 a delay after an epoch's line appears; say whether it finished."""
    resume = (run / "config.yaml").is_file()
    process = multiprocessing.get_context("fork").Process(
        target=train_alone, args=(data, run, overrides, resume)
    )
    process.start()
    while process.is_alive() and len(RunDirectory(run).metrics()) < epoch:
        time.sleep(0.002)
    process.join(delay)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def kill_battery(tmp_path: Path, data: Path, kills: int, runs: Any) -> int:
    """Kill ``kills`` times at random moments; return how often before the end."""
    overrides = ["training.epochs=30"]
    never = 10**9
    assert run_and_kill(data, tmp_path / "whole", never, 0, overrides)
    draw, struck, run = random.Random(0), 0, 0
    while kills > 0:
        path, finished = tmp_path / f"run{run}", False
        while kills > 0 and not finished:
            epoch = len(RunDirectory(path).metrics()) + draw.randint(0, 6)
            delay = draw.random() * 0.05  # about two epochs
            finished = run_and_kill(data, path, epoch, delay, overrides)
            kills -= not finished
            struck += not finished and 0 < len(RunDirectory(path).metrics()) < 30
        if not finished:
            assert run_and_kill(data, path, never, 0, overrides)
        runs.assert_equal(tmp_path / "whole", path)
        run += 1
    return struck


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills_at_random_moments_change_nothing(tmp_path, make_data, runs):
    assert kill_battery(tmp_path, make_data(), 50, runs) >= 25


def test_a_kill_changes_nothing(tmp_path, make_data, runs):
    assert kill_battery(tmp_path, make_data(), 2, runs) >= 1
