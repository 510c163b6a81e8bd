"""A case cannot say one thing and solve another: boundary, extent, units."""

from __future__ import annotations

import pytest
import yaml

from opkit import list_cases, load_case
from opkit.case.data import header_of
from opkit.case.record import parse_case
from opkit.errors import CaseError
from opkit.solvers.interface import KnowsSides, MeshPerSample, OnMesh

CASES = list_cases()
OTHER = {"periodic": "neumann", "dirichlet": "neumann", "neumann": "dirichlet"}


@pytest.mark.parametrize("name", CASES)
def test_every_case_says_what_its_solver_solves(name: str) -> None:
    """As it is, and with other parameters, which boundary and extent follow."""
    case = load_case(name)
    solver = case.build_solver()
    sides = solver.sides() if isinstance(solver, KnowsSides) else {}
    for part, side in case.boundary.items():
        assert isinstance(solver, KnowsSides), "a built-in solver says its conditions"
        changed = f"boundary.{part}.kind={OTHER.get(side.kind, 'dirichlet')}"
        with pytest.raises(CaseError, match=rf"boundary\.{part} is .* solves with"):
            load_case(name, [changed]).build_solver()
        if side.kind != "periodic":
            with pytest.raises(CaseError, match=rf"boundary\.{part} is"):
                load_case(name, [f"boundary.{part}.value=0.125"]).build_solver()
        assert sides[part]["kind"] == side.kind
    with pytest.raises(CaseError, match=r"boundary\.lid is dirichlet \(0.0\), .* no"):
        load_case(name, ["boundary.lid.kind=dirichlet"]).build_solver()


@pytest.mark.parametrize("name", CASES)
def test_another_extent_is_refused(name: str) -> None:
    for axis, (low, high) in load_case(name).geometry.extent.items():
        wider = f"geometry.extent.{axis}=[{low}, {high + (high - low)}]"
        case = load_case(name, [wider])
        with pytest.raises(CaseError, match=rf"geometry.extent of {axis} is "):
            solver = case.build_solver()
            # compared where the nodes are made
            assert isinstance(solver, OnMesh | MeshPerSample)
            header_of(case, solver, 0, 1, "float32")


def test_boundary_and_extent_follow_the_parameters_of_the_solver() -> None:
    case = load_case("navier-stokes", ["solver.parameters.length=2"])
    assert case.geometry.extent == {"y": (0, 2), "x": (0, 2)}
    assert case.build_solver().coordinates()["x"].values[-1] == 2 - 2 / 64
    mixed = load_case("elliptic-boundary", ["distribution.condition=neumann"])
    assert mixed.boundary["curve"].kind == "neumann"
    with pytest.raises(CaseError, match="curve is dirichlet"):
        load_case(
            "elliptic-boundary",
            ["distribution.condition=neumann", "boundary.curve.kind=dirichlet"],
        ).build_solver()
    heat = load_case(
        "hypino-heat",
        ['solver.parameters.boundary="u = 0 on left, right; u = 1 on bottom"'],
    )
    assert heat.boundary["bottom"].value == 1.0 and "top" not in heat.boundary


def test_other_units_of_the_domain() -> None:
    with pytest.raises(
        CaseError, match=r"geometry.units is km, its solver's y is in m"
    ):
        load_case("quasi-geostrophic", ["geometry.units=km"]).build_solver()


def test_a_stored_case_that_lies_is_refused() -> None:
    """Files made before say Neumann and hold p = 0 on that side."""
    plain = load_case("darcy").dump()
    plain["boundary"]["left"]["kind"] = "neumann"
    stored = yaml.safe_load(yaml.safe_dump(plain))
    with pytest.raises(CaseError, match=r"left is neumann .* dirichlet \(0\.0\)"):
        parse_case(stored).build_solver()
