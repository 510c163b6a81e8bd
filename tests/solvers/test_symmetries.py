"""Every symmetry that a solver names maps its solutions to solutions; others do not.

Discretisations on periodic grids commute with the actions on the grid exactly, so what
remains is round-off; Galilei's moves by parts of cells, exact up to the time steps.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from opkit.case import load_case
from opkit.errors import OpkitInputError
from opkit.solvers.interface import KnowsSymmetries
from opkit.solvers.navier_stokes.laws import KolmogorovForcing, PublishedForcing
from opkit.solvers.navier_stokes.solver import NavierStokes
from opkit.solvers.semilinear import Semilinear
from opkit.solvers.symmetry import Symmetry, act

FLOW = {"viscosity": 1e-2, "resolution": (16, 16), "records": 2, "record_interval": 0.5}
FLOW |= {"distribution": {"kind": "gaussian", "alpha": 2.5, "tau": 7, "sigma": 100}}
RING = {"resolution": (64,), "length": 32.0, "records": 2, "record_interval": 0.5}
RING |= {"tail": 0.1, "rtol": 1e-8}
SOLVERS: dict[str, KnowsSymmetries] = {
    "published flow": NavierStokes(**FLOW, forcing=PublishedForcing(amplitude=3)),
    "kolmogorov": NavierStokes(
        **FLOW, forcing=KolmogorovForcing(amplitude=1, wavenumber=2)
    ),
    "free flow": NavierStokes(**FLOW),
    "kuramoto-sivashinsky": Semilinear(
        **RING, convection=1, diffusion=-1, hyperdiffusion=1
    ),
    "korteweg-de-vries": Semilinear(**RING, convection=1, dispersion=1),
    "heat": Semilinear(**RING, diffusion=0.5),
    "allen-cahn": Semilinear(**RING, diffusion=1, growth=1, cubic=-1),
    "fisher": Semilinear(
        **RING,
        diffusion=1,
        growth=1,
        quadratic=-1,
        distribution={"kind": "sines", "amplitude": 0.05, "mean": 0.5},
    ),
    "burgers": load_case(
        "burgers",
        (
            "resolution=64",
            "solver.parameters.record_interval=0.2",
            "solver.parameters.rtol=1e-6",
        ),
    ).build_solver(),  # type: ignore[dict-item]
}
NAMES = {
    "published flow": {"shift", "transpose", "rotate"},
    "kolmogorov": {"shift", "flip_x", "flip_y", "rotate"},
    "free flow": {"shift", "flip_x", "flip_y", "transpose", "rotate"},
    "kuramoto-sivashinsky": {"shift", "flip_x", "galilei"},
    "korteweg-de-vries": {"shift", "galilei"},
    "heat": {"shift", "flip_x", "negate"},
    "allen-cahn": {"shift", "flip_x", "negate"},
    "fisher": {"shift", "flip_x"},
    "burgers": {"shift", "flip_x", "galilei"},
}


def solved(solver: Any, field: np.ndarray) -> np.ndarray:
    """All records of one initial field, whatever the names."""
    (name,) = solver.sample(np.random.default_rng(0))
    (records,) = solver.solve({name: field[None]}).outputs.values()
    result: np.ndarray = records[0]
    return result


def drawn(solver: Any) -> np.ndarray:
    (field,) = solver.sample(np.random.default_rng(3)).values()
    result: np.ndarray = field
    return result


@pytest.mark.parametrize("name", SOLVERS)
def test_solving_commutes_with_each_symmetry(name: str) -> None:
    solver = SOLVERS[name]
    assert isinstance(solver, KnowsSymmetries)
    known: Mapping[str, Symmetry] = solver.symmetries()
    assert known.keys() == NAMES[name]
    start = drawn(solver)
    end, size = solved(solver, start), abs(start).max()
    for label, symmetry in known.items():
        if label == "galilei":
            check_galilei(solver, symmetry.velocity, start, end)
            continue
        moves = (5, 3)[: len(symmetry.shifts)]
        other = act(symmetry, start, start.ndim, moves)
        np.testing.assert_allclose(
            solved(solver, other),
            act(symmetry, end, start.ndim, moves),
            rtol=0,
            atol=1e-9 * size,  # round-off, and steps that it may move
            err_msg=label,
        )
        assert label == "negate" or abs(other - start).max() > 0.1 * size


def check_galilei(
    solver: Any, velocity: float, start: np.ndarray, end: np.ndarray
) -> None:
    """u(x − aεt) + ε, shifted by Fourier phases."""
    flow, times = 0.3, solver.coordinates()["time"].values
    k = 2j * np.pi / solver.length * np.arange(len(start) // 2 + 1)
    phase = np.exp(-k * velocity * flow * times[:, None])
    moved = np.fft.irfft(np.fft.rfft(end) * phase) + flow
    # what is not smooth on the grid has no shift by parts of a cell
    np.testing.assert_allclose(
        solved(solver, start + flow), moved, rtol=0, atol=1e-5 * abs(end).max()
    )


def test_the_plain_flips_are_no_symmetries_of_the_published_flow() -> None:
    solver: Any = SOLVERS["published flow"]
    start = drawn(solver)
    end = solved(solver, start)
    for wrong in (
        Symmetry(flips=("x",)),
        Symmetry(sign=-1, flips=("x",)),
        Symmetry(transpose=True),
        Symmetry(shifts=({"x": 1},)),
    ):
        other = solved(solver, act(wrong, start, 2, (3,)))
        assert abs(other - act(wrong, end, 2, (3,))).max() > 1e-2 * abs(end).max()


def test_scalings_change_the_box() -> None:
    """Burgers and heat u(λx, λ²t), KdV λ²u(λx, λ³t), vorticity λ²ω(λx, λ²t)."""
    factor = 2.0  # a power of two, so that round-off is the same
    for equation, of_u, of_t in (
        ({"convection": 1.0, "diffusion": 0.5}, 1, 2),
        ({"convection": 1.0, "dispersion": 1.0}, 2, 3),
    ):
        plain = Semilinear(**RING, **equation)
        small = {
            "length": 32 / factor,
            "record_interval": 0.5 / factor**of_t,
        }
        scaled = Semilinear(**{**RING, **small}, **equation)
        start = drawn(plain)
        np.testing.assert_allclose(
            solved(scaled, factor**of_u * start),
            factor**of_u * solved(plain, start),
            rtol=0,
            atol=1e-11,
        )
    plain_flow: Any = SOLVERS["free flow"]
    smaller = {**FLOW, "length": 1 / factor, "record_interval": 0.5 / factor**2}
    start = drawn(plain_flow)
    np.testing.assert_allclose(
        solved(NavierStokes(**smaller), factor**2 * start),
        factor**2 * solved(plain_flow, start),
        rtol=0,
        atol=1e-9 * abs(start).max(),
    )
    ks = {"convection": 1.0, "diffusion": -1.0, "hyperdiffusion": 1.0}
    plain, scaled = (
        Semilinear(**{**RING, "length": length, "record_interval": t}, **ks)
        for length, t in ((32.0, 0.5), (16.0, 0.125))
    )
    start = drawn(plain)  # which has no scaling symmetry
    apart = solved(scaled, factor * start) - factor * solved(plain, start)
    assert abs(apart).max() > 0.1


def test_grids_that_a_symmetry_does_not_fit() -> None:
    turn = SOLVERS["published flow"].symmetries()["rotate"]
    with pytest.raises(OpkitInputError, match="no grid point of 12"):
        turn.indices((12, 12))
    with pytest.raises(OpkitInputError, match="as many points"):
        Symmetry(transpose=True).indices((8, 16))
