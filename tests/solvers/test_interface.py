"""What each built-in solver offers beyond the four methods, by the protocols' names."""

from collections.abc import Callable

import numpy as np
import pytest

import opkit
from opkit.case.record import Case
from opkit.errors import CaseError
from opkit.solvers import interface
from opkit.solvers.darcy import Darcy
from opkit.solvers.interface import (
    DescribesItself,
    DifferentiableDirection,
    DifferentiableResidual,
    Driven,
    Encloses,
    Forecasts,
    Hierarchy,
    KeepsMeans,
    KeepsSquares,
    KnowsDirichlet,
    KnowsSides,
    KnowsSymmetries,
    Ladder,
    LinearInSource,
    MarksBoundary,
    MeshPerSample,
    MovesNodes,
    NamedParts,
    OnDevice,
    OnMesh,
    Parallel,
    Parametric,
    ReadsMesh,
    Solver,
    Steps,
    TakesGuess,
    Tolerance,
    with_parameters,
)

CAPABILITIES = (
    OnMesh, KnowsDirichlet, Hierarchy, TakesGuess, Steps, Tolerance, OnDevice, Parallel,
    DifferentiableResidual, ReadsMesh, DescribesItself, NamedParts, Ladder,
    Parametric, MovesNodes, KnowsSides, MarksBoundary, MeshPerSample, Forecasts,
    KnowsSymmetries, KeepsMeans, KeepsSquares, Encloses, LinearInSource,
    DifferentiableDirection, Driven,
)  # fmt: skip
MESH = {OnMesh, KnowsDirichlet, Hierarchy, Tolerance}
ON_GRIDS = {TakesGuess, Tolerance, Parametric, MovesNodes, Ladder}
OFFERS: dict[str, set[type]] = {
    "darcy": {TakesGuess, Tolerance, OnDevice, DifferentiableResidual},
    "darcy-source": {
        Tolerance,
        DifferentiableResidual,
        DifferentiableDirection,
        LinearInSource,
    },
    "darcy-mesh": {
        *MESH,
        Parallel,
        ReadsMesh,
        DescribesItself,
        NamedParts,
        MarksBoundary,
    },
    "elastic-cantilever": {*MESH, MarksBoundary},
    "elliptic-boundary": {Tolerance},
    "burgers": {Steps, Tolerance, OnDevice, Parametric, KnowsSymmetries, KeepsMeans},
    "navier-stokes": {
        Steps,
        Tolerance,
        OnDevice,
        Parametric,
        KnowsSymmetries,
        KeepsMeans,
    },
    "darcy-parametric": {TakesGuess, Tolerance, Parametric},
    "helmholtz-scattering": {Tolerance, Parametric, MovesNodes, Ladder},
    "elasticity-plates": {Tolerance, Parametric, MeshPerSample},
    "bracket-3d": {OnMesh, Tolerance, Parametric, MovesNodes, Ladder, MarksBoundary},
    "quasi-geostrophic": {Steps, Tolerance, OnDevice},
    "kuramoto-sivashinsky": {
        Steps,
        Tolerance,
        Parametric,
        Forecasts,
        KnowsSymmetries,
        KeepsMeans,
        KeepsSquares,
    },
    "manufactured": set(),
    "hypino-heat": set(),
    "hyperelastic-cell": ON_GRIDS,
    "hyperelastic-cell-strain": ON_GRIDS,
    "pipe": ON_GRIDS,
    "channel-bumps": ON_GRIDS,
    "airfoil": ON_GRIDS,
    "heat-boundary": {Tolerance, Parametric},
    "heat-driven": {Tolerance, Parametric, Steps, Driven},
    "conductivity-cell": {Tolerance},
    "schroedinger-1d": {Encloses},
}


@pytest.mark.parametrize("name", OFFERS)
def test_built_in_solvers_offer_what_they_are_known_for(name: str) -> None:
    solver = opkit.load_case(name).build_solver()
    assert isinstance(solver, Solver)
    found = {c for c in CAPABILITIES if isinstance(solver, c)}
    assert found == OFFERS[name] | {KnowsSides}  # all say their boundary conditions


def test_every_protocol_is_in_the_table() -> None:
    public = {
        value
        for value in vars(interface).values()
        if isinstance(value, type) and Solver in value.__mro__[1:]
    }
    assert public == set(CAPABILITIES)


def test_a_plug_in_has_its_four_methods_alone(heat: Callable[..., Case]) -> None:
    solver = heat(8).build_solver()
    assert isinstance(solver, Solver)
    assert not any(isinstance(solver, c) for c in CAPABILITIES)


def test_other_parameters() -> None:
    solver = Darcy(resolution=(9, 9))
    other = with_parameters(solver, rtol=1e-3)
    assert (other.rtol, solver.rtol) == (1e-3, 1e-8)
    assert other == Darcy(resolution=(9, 9), rtol=1e-3)
    with pytest.raises(ValueError, match="rtol"):
        with_parameters(solver, rtol=-1.0)


def test_a_solver_that_is_no_dataclass_says_so() -> None:
    class Plain:
        records = 3

    with pytest.raises(CaseError, match=r"Plain is not a dataclass.*records"):
        with_parameters(Plain(), records=1)


def test_a_guess_is_a_start_and_no_input() -> None:
    solver = Darcy(resolution=(17, 17), preconditioner="sine")
    inputs = {"permeability": solver.sample(np.random.default_rng(0))["permeability"]}
    inputs = {name: field[None] for name, field in inputs.items()}
    cold = solver.solve(inputs)
    warm = solver.solve_from(inputs, cold.outputs)
    assert warm.details["iterations"][0] < cold.details["iterations"][0]
    # Both are solutions to rtol 1e-8; contrast 4 leaves twice that between them.
    np.testing.assert_allclose(
        warm.outputs["pressure"], cold.outputs["pressure"], rtol=0, atol=1e-9
    )
