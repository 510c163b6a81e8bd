"""A process that forks after loading does not hang, and says so in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

BUNDLE = Path(__file__).parents[1] / "data" / "golden" / "bundles" / "fno"
SCRIPT = """
import os, signal, sys, warnings
import numpy as np, torch
warnings.formatwarning = lambda text, *_: f"{text}\\n"
import opkit
torch.set_num_threads(int(sys.argv[2]))
surrogate = opkit.load(sys.argv[1])
fields = np.ones((4, 9, 9))
wanted = surrogate(fields)
large = torch.rand(1 << 20)
large.exp().sum()  # starts torch's threads
for _ in range(2):
    child = os.fork()
    if not child:
        signal.alarm(60)
        large.exp().sum()
        same = np.allclose(surrogate(fields), wanted, rtol=1e-4)
        os._exit(0 if same and torch.get_num_threads() == 1 else 1)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize("threads", [1, 4])
def test_a_fork_after_loading(threads: int) -> None:
    words = [sys.executable, "-c", SCRIPT, str(BUNDLE), str(threads)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout.split() == ["0", "0"]
    assert done.stderr.count("spawn or forkserver") == (threads > 1)
