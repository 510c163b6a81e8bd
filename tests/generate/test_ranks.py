"""Samples that are shared between MPI ranks: the same solutions, faults, leftovers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from opkit.case import load_case
from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.generate import Progress, generate

Heat = Callable[..., Case]
PARALLEL = "solver.parameters.parallel=true"


def ranks_of(generation: int) -> list[int]:
    """Numbers of the serving processes below a process, launchers left out."""
    ranks, below = [], [generation]
    while below:
        number = below.pop()
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            for task in Path(f"/proc/{number}/task").iterdir():
                below += map(int, (task / "children").read_text().split())
        except OSError:
            continue
        if b"python" in line[0] and b"opkit.generate.worker" in line:
            ranks.append(number)
    return ranks


@pytest.mark.fem
@pytest.mark.slow
def test_two_ranks_give_the_same_solutions_though_one_dies(tmp_path: Path) -> None:
    plain = generate(load_case("darcy-mesh"), tmp_path / "plain.h5", samples=120)
    killed: list[int] = []

    def strike(progress: Progress) -> None:
        if progress.done >= 32 and not killed:
            ranks = ranks_of(os.getpid())
            assert len(ranks) == 2
            killed.append(max(ranks))
            os.kill(killed[0], signal.SIGKILL)

    case = load_case("darcy-mesh", (PARALLEL,))
    shared = generate(
        case, tmp_path / "shared.h5", samples=120, ranks=2, progress=strike
    )
    assert killed
    with DataFile(plain) as a, DataFile(shared) as b:
        assert len(list(b.verify())) == 120
        assert b.header.provenance["ranks"] == 2
        one, two = (f.read("pressure", slice(0, 120)) for f in (a, b))
        np.testing.assert_array_equal(
            a.read("permeability", slice(0, 120)), b.read("permeability", slice(0, 120))
        )
        # two direct solves that differ by the order of their sums, then one rounding
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7 * np.abs(one).max())
    assert not ranks_of(os.getpid())


@pytest.mark.fem
@pytest.mark.slow
def test_a_refusal_of_all_ranks_has_its_seed(tmp_path: Path) -> None:
    solver = ("linear_solver=iterative", "max_iterations=1", "parallel=true")
    settings = tuple(f"solver.parameters.{setting}" for setting in solver)
    case = load_case("darcy-mesh", settings)
    with pytest.raises(NotConvergedError) as caught:
        generate(case, tmp_path / "bad.h5", seed=3, samples=4, ranks=2)
    assert caught.value.seed == (3, 0)
    assert not (tmp_path / "bad.h5").exists()


GENERATION = """
import sys
from opkit.case import load_case
from opkit.generate import generate
case = load_case("darcy-mesh", ("solver.parameters.parallel=true", "resolution=64"))
generate(case, sys.argv[1], samples=1000, ranks=2)
"""


@pytest.mark.fem
@pytest.mark.slow
def test_ranks_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", GENERATION, str(tmp_path / "cut.h5")]
    )
    deadline = time.monotonic() + 60
    while len(ranks := ranks_of(child.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)
    assert len(ranks) == 2
    child.kill()
    child.wait()
    deadline = time.monotonic() + 20
    left = ranks
    while left and time.monotonic() < deadline:
        left = [n for n in left if Path(f"/proc/{n}/cmdline").exists()]
        left = [n for n in left if Path(f"/proc/{n}/cmdline").read_bytes()]
        time.sleep(0.1)
    assert not left


def test_ranks_where_nothing_is_shared_are_refused(heat: Heat, tmp_path: Path) -> None:
    with pytest.raises(OpkitInputError, match=r"parallel=true \(darcy-mesh takes it\)"):
        generate(heat(), tmp_path / "a.h5", ranks=2)
    with pytest.raises(OpkitInputError, match="not on Dask"):
        case = load_case("darcy-mesh", (PARALLEL,))
        generate(case, tmp_path / "a.h5", ranks=2, scheduler="local")
    assert not list(tmp_path.iterdir())
