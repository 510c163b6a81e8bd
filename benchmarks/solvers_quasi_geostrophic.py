"""Two-layer quasi-geostrophic flow against pyqg, same scheme, same steps.

    python benchmarks/solvers_quasi_geostrophic.py --pyqg-python PATH 64
    python benchmarks/solvers_quasi_geostrophic.py --pyqg-python PATH 256

``PATH`` is the Python of an environment with pyqg built from git
(tests/data/quasi_geostrophic/README.md says how); pyqg runs in processes of its own,
interleaved with ours, its diagnostics and messages off. Ours is timed through
`QuasiGeostrophic.solve`: plans, checks and output included. Errors are the largest
difference from pyqg's field after 100 steps, over the largest value.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from opkit.solvers.quasi_geostrophic.laws import resample
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic
from solvers import Contender, compare

DT = 3600.0
BATCH = 20
INITIAL = "initial_potential_vorticity"


class Peer:
    """A pyqg model in a process of its own."""

    def __init__(self, python: str, points: int, threads: int, start: Path) -> None:
        worker = Path(__file__).with_name("solvers_pyqg_worker.py")
        # OpenMP threads that spin while FFTW's threads work cost pyqg most of its speed
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        environment.pop("OMP_NUM_THREADS", None)
        self._process = subprocess.Popen(
            [python, str(worker), str(points), str(threads), str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def send(self, command: object) -> None:
        """Give a command without waiting for it to be done."""
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)

    def wait(self) -> None:
        """Wait for the last command."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "done":
            raise SystemExit("pyqg stopped: see its message above")

    def __call__(self, command: object) -> None:
        """Give a command and wait."""
        self.send(command)
        self.wait()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def solver(points: int, steps: int, **changes: Any) -> QuasiGeostrophic:
    options: dict[str, Any] = {
        "resolution": (points, points),
        "scheme": "pyqg",
        "time_step": DT,
        "record_interval": steps * DT,
        "records": 1,
    }
    return QuasiGeostrophic(**(options | changes))


def final(flow: QuasiGeostrophic, q: np.ndarray) -> np.ndarray:
    return flow.solve({INITIAL: q}).outputs["potential_vorticity"][:, -1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("points", type=int, nargs="?", default=64)
    parser.add_argument("--pyqg-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, help="per timing of one run")
    parser.add_argument("--batch-steps", type=int, help="per timing of a batch")
    arguments = parser.parse_args()
    n = arguments.points
    steps = arguments.steps or (3000 if n <= 64 else 120)
    batch_steps = arguments.batch_steps or max(100, steps // 10)
    spin_up = {"kind": "turbulence", "rms": 3e-6, "spin_up": 4.32e7, "grid": 64}
    coarse = solver(64, 1, distribution=spin_up, scheme="etdrk4", rtol=1e-5)
    q = resample(coarse.sample(np.random.default_rng(0))[INITIAL], (n, n))
    starts = np.repeat(q[None], BATCH, axis=0)
    with tempfile.TemporaryDirectory() as folder:
        start, end = Path(folder, "start.npy"), Path(folder, "end.npy")
        np.save(start, q)
        one = Peer(arguments.pyqg_python, n, 1, start)
        two = Peer(arguments.pyqg_python, n, 2, start)
        other = Peer(arguments.pyqg_python, n, 1, start)
        one(100)
        one(f"save {end}")
        exact = np.load(end)

        def error(**changes: Any) -> str:
            ours = final(solver(n, 100, **changes), q[None])[0]
            return f"{np.abs(ours - exact).max() / np.abs(exact).max():.1e}"

        def both() -> None:
            for peer in (one, other):
                peer.send(steps)
            for peer in (one, other):
                peer.wait()

        contenders = [
            Contender("pyqg, 1 thread", lambda: one(steps), steps),
            Contender("pyqg, 2 threads", lambda: two(steps), steps),
            Contender("pyqg, 2 processes, each a run", both, 2 * steps),
            Contender(
                "opkit, one run, 1 thread",
                lambda: final(solver(n, steps), q[None]),
                steps,
                error(),
            ),
            Contender(
                "opkit, one run, 2 threads",
                lambda: final(solver(n, steps, threads=2), q[None]),
                steps,
                error(threads=2),
            ),
            Contender(
                f"opkit, batch of {BATCH}, 2 threads",
                lambda: final(solver(n, batch_steps, threads=2), starts),
                BATCH * batch_steps,
                error(threads=2),
            ),
        ]
        title = f"Two layers, eddy configuration, {n} x {n}, float64"
        compare(title, "trajectory-step", contenders, arguments.repeats)
        for peer in (one, two, other):
            peer.close()


if __name__ == "__main__":
    main()
