"""Any names of groups, in any order: the same areas, lengths and solution."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh
from opkit.solvers.fem.domains import MeshFile, Square
from opkit.solvers.fem.read_mesh import read_mesh
from opkit.solvers.fem.simplex_mesh import edges

pytestmark = [pytest.mark.fem, pytest.mark.slow]  # a child process an example
SIDES = ("left", "right", "bottom", "top")
NAMES = st.lists(
    st.from_regex(r"[A-Za-z][A-Za-z0-9 _.-]{0,11}", fullmatch=True),
    min_size=4, max_size=4, unique=True,
)  # fmt: skip


def write(
    path: Path, names: list[str], numbers: list[int], order: np.ndarray, wide: float
) -> None:
    """The square of 4 x 4 x 2 triangles, elements and names in any order."""
    mesh = Square().mesh(4)
    elements = [("2 2 99 99", cell) for cell in mesh.cells]
    for facet, part in zip(mesh.facets, mesh.parts, strict=True):
        number = numbers[SIDES.index(mesh.names[part])]
        elements.append((f"1 2 {number} {number}", facet))
    groups = [f'1 {n} "{name}"' for n, name in zip(numbers, names, strict=True)]
    groups = [groups[k] for k in np.argsort(order[:4])] + [f'2 99 "{names[0]}"']
    lines = ["$MeshFormat", "2.2 0 8", "$EndMeshFormat", "$PhysicalNames", "5", *groups]
    lines += ["$EndPhysicalNames", "$Nodes", str(len(mesh.points))]
    lines += [
        f"{k} {wide * x!r} {y!r} 0" for k, (x, y) in enumerate(mesh.points.tolist(), 1)
    ]
    lines += ["$EndNodes", "$Elements", str(len(elements))]
    for k, place in enumerate(order, 1):
        kind, nodes = elements[place]
        lines.append(f"{k} {kind} " + " ".join(str(n + 1) for n in nodes))
    path.write_text("\n".join([*lines, "$EndElements", ""]))


@settings(
    max_examples=5, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    names=NAMES,
    numbers=st.permutations([1, 2, 7, 40]),
    seed=st.integers(0, 10**6),
    wide=st.sampled_from([1.0, 2.5, 1e-3]),
)
def test_names_and_orders_do_not_matter(
    tmp_path: Path, names: list[str], numbers: list[int], seed: int, wide: float
) -> None:
    """p = x / wide solves div grad p = 0, p = 0 left and 1 right, no flux elsewhere.

    Linear elements hold it exactly: the solver's tolerance is 1e-8.
    """
    path = tmp_path / "m.msh"
    write(path, names, numbers, np.random.default_rng(seed).permutation(48), wide)
    mesh = read_mesh(path)
    assert mesh.volumes().sum() == pytest.approx(wide, rel=1e-12)
    lengths = dict(zip(SIDES, (1.0, 1.0, wide, wide), strict=True))
    expected = {name: lengths[side] for side, name in zip(SIDES, names, strict=True)}
    assert mesh.part_sizes() == pytest.approx(expected, rel=1e-12)
    assert len(edges(mesh.cells)) == 56
    flux = Condition(kind="neumann")
    ends = {"left": 0.0, "right": 1.0}
    pressure = {s: Condition(kind="dirichlet", value=v) for s, v in ends.items()}
    boundary = {n: pressure.get(s, flux) for s, n in zip(SIDES, names, strict=True)}
    solver = DarcyMesh(
        resolution=(1,), domain=MeshFile(path=path), boundary=boundary, forcing=0.0
    )
    solution = solver.solve({"permeability": np.ones((1, len(mesh.cells)))})
    exact = mesh.points[:, 0] / wide
    np.testing.assert_allclose(solution.outputs["pressure"][0], exact, atol=1e-7)


@settings(max_examples=2, deadline=None)
@given(names=NAMES)
def test_corners_do_not_depend_on_names(names: list[str]) -> None:
    """Values 0, 1, 2, 3 on the sides: the mean where two meet, whatever their names."""
    from opkit.solvers.fem.simplex_mesh import build

    square = Square().mesh(4)
    value = dict(zip(SIDES, (0.0, 1.0, 2.0, 3.0), strict=True))
    tagged = {
        names[SIDES.index(side)]: square.facets[square.parts == k]
        for k, side in enumerate(square.names)
    }
    mesh = build(square.points, square.cells, tagged=tagged)
    boundary = {
        name: Condition(kind="dirichlet", value=value[side])
        for side, name in zip(SIDES, names, strict=True)
    }
    solver = DarcyMesh(resolution=(4,), domain=Square(), boundary={
        side: boundary[name] for side, name in zip(SIDES, names, strict=True)
    })  # fmt: skip
    fixed, given_values = solver.dirichlet()
    corner = np.flatnonzero((mesh.points == (0, 0)).all(axis=1))[0]
    assert fixed[corner] and given_values[0, corner] == 1.0  # left 0, bottom 2
    solution = solver.solve({"permeability": np.ones((1, len(mesh.cells)))})
    np.testing.assert_allclose(
        solution.outputs["pressure"][0, fixed], given_values[0, fixed], atol=1e-14
    )
