"""Step pyqg on command, for solvers_quasi_geostrophic.py; runs in a Python with pyqg.

python solvers_pyqg_worker.py POINTS THREADS START.npy

Each line on standard input is a number of steps; when they are taken, "done" is
answered. ``save FILE.npy`` writes the potential vorticity, ``reset`` starts anew.
"""

import sys

import numpy as np
import pyqg


def main() -> None:
    """Serve standard input."""
    points, threads, start = int(sys.argv[1]), int(sys.argv[2]), np.load(sys.argv[3])

    def model() -> pyqg.QGModel:
        # no diagnostics, no messages: nothing but steps
        qg = pyqg.QGModel(
            nx=points, dt=3600.0, ntd=threads, tavestart=1e30, log_level=0
        )
        qg.q = start
        return qg

    running = model()
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "save":
            np.save(rest, np.array(running.q))
        elif word == "reset":
            running = model()
        else:
            for _ in range(int(word)):
                running._step_forward()
        print("done", flush=True)


if __name__ == "__main__":
    main()
