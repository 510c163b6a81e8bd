"""Drag of the undeformed airfoil as the grid is refined, beside the published value.

    OMP_NUM_THREADS=1 python -m benchmarks.airfoil

Prints drag and lift in counts (1e-4), evaluations of the residual, and seconds of
processor time, at Mach 0.5, where inviscid drag is zero, and at Mach 0.8.
"""

from __future__ import annotations

import os
import time

import numpy as np

from opkit.solvers.euler.airfoil import Airfoil

GRIDS = ((26, 111), (51, 221), (76, 331), (101, 441))
EXACT = {0.5: "0", 0.8: "83 (Vassberg, Jameson, 2010)"}


def main() -> None:
    plain = {"displacements": np.zeros((1, 7))}
    Airfoil(resolution=GRIDS[0], rtol=1e-1).solve(plain)  # compiles
    print(f"load {os.getloadavg()[0]:.1f}\n")
    print("| nodes | Mach | drag | lift | evaluations | seconds |")
    print("|---|---|---|---|---|---|")
    for mach, exact in EXACT.items():
        for nodes in GRIDS:
            begin = time.process_time()
            found = Airfoil(resolution=nodes, mach=mach, rtol=1e-4).solve(plain)
            seconds = time.process_time() - begin
            lift, drag, count = (
                float(found.details[name][0]) for name in ("lift", "drag", "iterations")
            )
            print(
                f"| {nodes[1]} x {nodes[0]} | {mach} | {1e4 * drag:.1f} | "
                f"{1e4 * lift:.2f} | {count:.0f} | {seconds:.1f} |"
            )
        print(f"| exact | {mach} | {exact} | 0 | | |")


if __name__ == "__main__":
    main()
