"""Two processes equal one with the doubled batch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import train

SCRIPT = """
import sys
from pathlib import Path
from opkit.train import train
from opkit.train.loop.checkpoint import MANIFEST
run = Path(sys.argv[2])
resume = (run / "checkpoints" / MANIFEST).is_file()
train(Path(sys.argv[1]), run, operator="fno", overrides=sys.argv[3:], resume=resume)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("samples", "strategy"),
    [(24, "ddp"), (27, "ddp"), (27, "fsdp")],
    ids=["even", "ragged", "sharded"],
)
def test_two_gloo_processes_equal_one_with_the_doubled_batch(
    tmp_path, make_data, samples, strategy
):
    data = make_data(train=samples)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    common = [
        "training.symmetries=[flip_x, shift]",
        "training.ema=0.5",
        "training.schedule=constant",  # the same for any number of epochs
    ]
    train(
        data,
        tmp_path / "one",
        operator="fno",
        overrides=[*common, "training.batch_size=8"],
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    arguments = [str(data), str(tmp_path / "two"), *common, "training.batch_size=4"]
    arguments.append(f"training.strategy={strategy}")
    for epochs in (2, 4):  # interrupted, and resumed
        done = subprocess.run(
            [
                *torchrun,
                "--nproc-per-node=2",
                str(script),
                *arguments,
                f"training.epochs={epochs}",
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (metrics(tmp_path / name) for name in ("one", "two"))
    # the same sums in another order, in fp32, over 12 steps of Adam
    np.testing.assert_allclose(one, two, rtol=1e-3)
    first, second = (bundle.read(tmp_path / name)[1] for name in ("one", "two"))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        # fp32 noise through the same 24 steps of Adam
        torch.testing.assert_close(second[name], weight, rtol=1e-2, atol=1e-3)


def metrics(run: Path) -> list[tuple[float, ...]]:
    names = ("epoch", "train_loss", "validation", "learning_rate")
    return [tuple(row[n] for n in names) for row in RunDirectory(run).metrics()]
