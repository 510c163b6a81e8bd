"""Darcy flow on meshes: batches, symmetry, residuals, seeds, and MPI ranks."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh, Subdomains
from opkit.solvers.fem.domains import NotchedTriangle
from opkit.solvers.laws.permeability import LogNormal, TwoPhase

ZERO = Condition(kind="dirichlet")
Make = Callable[..., DarcyMesh]
Solve = Callable[[DarcyMesh, np.ndarray], np.ndarray]


@pytest.mark.fem
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("linear_solver", ["direct", "iterative"])
def test_samples_do_not_depend_on_their_batch(
    l_shape: Make, pressure: Solve, degree: int, linear_solver: str
) -> None:
    solver = l_shape(
        8, degree=degree, linear_solver=linear_solver, distribution=LogNormal(scale=3)
    )
    a = [solver.sample(np.random.default_rng(i))["permeability"] for i in (0, 1)]
    batch = solver.solve({"permeability": np.stack([a[1], a[0], a[0], a[1]])})
    p = batch.outputs["pressure"]
    assert np.array_equal(p[0], p[3])
    assert np.array_equal(p[1], p[2])
    assert np.array_equal(p[1], pressure(solver, a[0]))
    assert (batch.error <= solver.rtol).all()


@pytest.mark.fem
def test_mirror_symmetry_and_scaling(l_shape: Make, pressure: Solve) -> None:
    solver = l_shape(8, distribution=Subdomains(), rtol=1e-11)
    mesh = solver.simplex_mesh()
    a = np.array([5.0, 1.0, 40.0])[mesh.subdomains]
    mirrored = np.array([5.0, 40.0, 1.0])[mesh.subdomains]  # x and y exchanged
    p, q = pressure(solver, a), pressure(solver, mirrored)
    nodes = {tuple(xy): i for i, xy in enumerate(mesh.points)}
    swap = [nodes[y, x] for x, y in mesh.points]
    assert q == pytest.approx(p[swap], abs=1e-12)
    assert pressure(solver, 8 * a) == pytest.approx(p / 8, abs=1e-12)


@pytest.mark.fem
def test_direct_and_iterative_solutions_agree_at_high_contrast(
    l_shape: Make, pressure: Solve
) -> None:
    law = Subdomains(low=1e-2, high=1e2)
    direct = l_shape(32, distribution=law, linear_solver="direct")
    iterative = replace(direct, linear_solver="iterative", rtol=1e-10)
    a = direct.sample(np.random.default_rng(3))["permeability"]
    p, q = pressure(direct, a), pressure(iterative, a)
    assert np.linalg.norm(p - q) < 1e-8 * np.linalg.norm(p)


@pytest.mark.fem
def test_residual_of_stored_and_of_wrong_pressure(l_shape: Make) -> None:
    solver = l_shape(32, distribution=LogNormal(scale=3))
    a = {"permeability": solver.sample(np.random.default_rng(0))["permeability"][None]}
    solution = solver.solve(a)
    p = solution.outputs["pressure"]
    assert solver.residual(a, {"pressure": p}) == pytest.approx(solution.error)
    assert solver.residual(a, {"pressure": p.astype(np.float32)})[0] < 1e-5
    assert solver.residual(a, {"pressure": 1.01 * p})[0] == pytest.approx(0.01)
    assert solver.residual(a, {"pressure": 0 * p})[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "law", [TwoPhase(), LogNormal(), Subdomains()], ids=lambda law: law.kind
)
def test_a_seed_means_the_same_permeability_on_every_mesh(
    l_shape: Make, law: LogNormal
) -> None:
    coarse, fine = (l_shape(n, distribution=law) for n in (16, 64))
    a, b = (s.sample(np.random.default_rng(2))["permeability"] for s in (coarse, fine))
    children = b.reshape(4, 4, -1)[3, 3]  # the middle of the middle: same centroid
    if law.kind == "two-phase":
        assert np.mean(a != children) < 0.01
    else:
        assert children == pytest.approx(a)


PARALLEL = """
import sys, numpy as np
from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh
from opkit.solvers.fem.domains import NotchedTriangle
given = {"notch": Condition(kind="dirichlet"),
         "outer": Condition(kind="dirichlet", value=1.0)}
solver = DarcyMesh(resolution=(24,), boundary=given, domain=NotchedTriangle(), degree=2,
                   linear_solver=sys.argv[1], parallel=True, rtol=1e-10)
a = solver.sample(np.random.default_rng(0))["permeability"][None]
p = solver.solve({"permeability": a}).outputs["pressure"]
from opkit.solvers.fem.stack import MPI
assert MPI.COMM_WORLD.size == int(sys.argv[3])
np.save(f"{sys.argv[2]}/{MPI.COMM_WORLD.rank}.npy", p)
"""


@pytest.mark.fem
@pytest.mark.slow
@pytest.mark.parametrize("linear_solver", ["direct", "iterative"])
def test_two_ranks_share_a_mesh(
    pressure: Solve, linear_solver: str, tmp_path: Path
) -> None:
    launcher = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    launcher = launcher or shutil.which("mpiexec")
    if launcher is None:
        pytest.skip("no mpiexec beside this Python or on PATH")
    script = tmp_path / "solve.py"
    script.write_text(PARALLEL)
    arguments = [sys.executable, str(script), linear_solver, str(tmp_path), "2"]
    subprocess.run([launcher, "-n", "2", *arguments], check=True, timeout=200)
    one, two = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    assert np.array_equal(one, two)
    solver = DarcyMesh(
        resolution=(24,),
        boundary={"notch": ZERO, "outer": Condition(kind="dirichlet", value=1.0)},
        domain=NotchedTriangle(),
        degree=2,
        rtol=1e-10,
    )
    a = solver.sample(np.random.default_rng(0))["permeability"]
    assert one[0] == pytest.approx(pressure(solver, a), rel=1e-7, abs=1e-9)
