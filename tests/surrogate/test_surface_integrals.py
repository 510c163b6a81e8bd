"""Integrals over named parts of a mesh, with normals and slopes, by closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from opkit.base.mesh_groups import MeshGroups
from opkit.case import load_case
from opkit.case.quantities import (
    Difference,
    Flux,
    Force,
    GradientFlux,
    Integral,
    Maximum,
    Mean,
)
from opkit.case.record import parse_case
from opkit.errors import CaseError, OpkitInputError
from opkit.generate import plan
from opkit.solvers.bracket.solver import Bracket3D
from opkit.solvers.cylinder_wake import CylinderWake
from opkit.solvers.fem.domains import LShape, Square
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.surrogate.checks.functionals import evaluate
from opkit.surrogate.checks.places import Place, parts_of


def of(place: Place, quantity, **fields) -> float:
    return float(evaluate(quantity, {k: v[None] for k, v in fields.items()}, place)[0])


def on_mesh(mesh, degree: int = 1) -> Place:
    points, cells = lagrange_nodes(mesh, degree)
    groups = MeshGroups(mesh.subdomains, mesh.facets, mesh.parts, mesh.names)
    parts = parts_of(cells, groups, mesh.dimension)
    return Place(
        ("node",), mesh=(points, cells), parts=parts, subdomains=mesh.subdomains
    )


def ring(n: int, degree: int = 0) -> Place:
    """1 < r < 2 as a grid (degree 0) or as triangles of it."""
    r, angle = np.linspace(1, 2, n), 2 * np.pi * np.arange(6 * n) / (6 * n)
    points = r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    if not degree:
        axes = (np.linspace(0, 1, n), np.arange(6 * n) / (6 * n))
        return Place(("y", "x"), axes, (False, True), (1.0, 1.0), points=points)
    from opkit.solvers.fem.simplex_mesh import build

    number = np.arange(6 * n * n).reshape(n, 6 * n)
    a, b = number[:-1], np.roll(number, -1, 1)[:-1]
    c, d = np.roll(number, -1, 1)[1:], number[1:]
    cells = np.concatenate(
        [np.stack([k.ravel() for k in t], 1) for t in ((a, d, c), (a, c, b))]
    )
    inner = np.stack([number[0], np.roll(number[0], -1)], 1)
    mesh = build(points.reshape(-1, 2), cells, tagged={"hole": inner}, rest="outside")
    return on_mesh(mesh, degree)


def test_lengths_means_and_maxima_of_an_l_shape() -> None:
    """Linear fields are integrated exactly over parts and subdomains."""
    place = on_mesh(LShape().mesh(8), 2)
    x, y = place.mesh[0].T
    u = 1 + x + 2 * y
    inner = {"part": "inner"}  # from (1, 0) over (0, 0) to (0, 1)
    assert of(place, Integral(kind="integral", of="u", **inner), u=u) == pytest.approx(
        2 + 0.5 + 1.0
    )
    assert of(place, Mean(kind="mean", of="u", **inner), u=u) == pytest.approx(1.75)
    assert of(place, Maximum(kind="maximum", of="u", **inner), u=u) == 3
    # subdomain 0 is (-1, 0)²
    corner = Integral(kind="integral", of="u", subdomain=0)
    assert of(place, corner, u=u) == pytest.approx(1 - 0.5 - 1.0)
    assert of(place, Maximum(kind="maximum", of="u", subdomain=0), u=u) == 1
    drop = Difference(kind="difference", of="u", parts=("inner", "outer"))
    # outer: x = -1, y = -1, (1, y), (x, 1): ∫ u = 0 - 2 + (2 - 1) + (3 - 1/2), length 6
    assert of(place, drop, u=u) == pytest.approx(1.75 - 1.5 / 6)


def test_fluxes_through_parts_obey_the_divergence_theorem() -> None:
    """∇·(x², x y) = 3 x: of degree 2 the parts add up to ∫ 3 x exactly."""
    place = on_mesh(LShape().mesh(4), 2)
    x, y = place.mesh[0].T
    through = [
        of(place, Flux(kind="flux", of="u", and_of="v", part=p), u=x**2, v=x * y)
        for p in ("inner", "outer")
    ]
    assert sum(through) == pytest.approx(3 * -0.5, abs=1e-12)
    # along y = 0, n = (0, 1): ∫ x y = 0; along x = 0, n = (1, 0): 0
    assert through[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("degree", "order"), [(0, 2), (1, 1), (2, 2)])
def test_order_of_the_flux_of_a_gradient(degree: int, order: int) -> None:
    """u = ln r + x: ∂u/∂n over the circle r = 1 is -2π, less that of cells by O(h^p).

    Degree 2 has straight edges, so the circle itself limits it to order 2. Orders of
    two grids are within 0.35 of the asymptotic ones.
    """
    errors = []
    for n in (9, 17):
        place = ring(n, degree)
        nodes = (place.points if degree == 0 else place.mesh[0]).reshape(-1, 2)
        u = (np.log(np.hypot(*nodes.T)) + nodes[:, 0]).reshape(
            place.points.shape[:2] if degree == 0 else -1
        )
        where = {"side": "bottom"} if degree == 0 else {"part": "hole"}
        flux = of(place, GradientFlux(kind="gradient-flux", of="u", **where), u=u)
        errors.append(abs(flux + 2 * np.pi))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize(("degree", "order"), [(0, 2), (1, 1), (2, 2)])
def test_the_drag_of_creeping_flow_round_a_cylinder(degree: int, order: int) -> None:
    """Stokes flow of ψ = (r ln r - r / 2 + 1 / (2 r)) sin θ: drag 4π ν.

    p = -2 ν cos θ / r, u = ∂ψ/∂y, v = -∂ψ/∂x, 0 on the cylinder; the flow is that of a
    force 4π ν (Lamb, Hydrodynamics, 343). Fields are taken at nodes, so the error of
    the slopes is all there is. Triangles of degree 1 do better than their order: errors
    of the two triangles that meet a node differ in sign.
    """
    nu, errors = 0.3, []
    for n in (17, 33):
        place = ring(n, degree)
        nodes = (place.points if degree == 0 else place.mesh[0]).reshape(-1, 2)
        x, y = nodes.T
        r = np.hypot(x, y)
        # ψ = y f(r), f = ln r - 1/2 + 1 / (2 r²)
        f, slope = np.log(r) - 0.5 + 0.5 / r**2, 1 / r - 1 / r**3
        fields = {
            "u": f + y * slope * y / r,
            "v": -y * slope * x / r,
            "p": -2 * nu * x / r**2,
        }
        if degree == 0:
            fields = {k: v.reshape(place.points.shape[:2]) for k, v in fields.items()}
        where = {"side": "bottom"} if degree == 0 else {"part": "hole"}
        drag = Force(
            kind="force", of="p", velocity=("u", "v"), viscosity=nu,
            direction=(2, 0), factor=1 / nu, **where,
        )  # fmt: skip
        errors.append(abs(of(place, drag, **fields) - 4 * np.pi))
        lift = drag.model_copy(update={"direction": (0.0, 1.0)})
        assert of(place, lift, **fields) == pytest.approx(0, abs=0.2)  # O(h)
    assert np.log2(errors[0] / errors[1]) > order - 0.35
    assert errors[1] < 4e-3


def test_moved_tetrahedra_in_space() -> None:
    """A bracket of any shape: the load's end has the area width x taper x arm."""
    solver = Bracket3D(resolution=(9, 2, 2))
    points, cells = solver.mesh()
    place = Place(
        ("node",), mesh=(points, cells),
        parts=parts_of(cells, solver.boundary_groups(), 3),
    )  # fmt: skip
    lengths = {
        "length": 110.0, "height": 90.0, "leg": 18.0, "arm": 22.0, "taper": 0.5,
        "width": 33.0, "fillet": 9.0,
    }  # fmt: skip
    moved = solver.points({k: np.array([v]) for k, v in lengths.items()})[0]
    there = replace(place, points=moved)
    one = np.ones(len(points))
    loaded = Integral(kind="integral", of="u", part="loaded")
    assert of(there, loaded, u=one) == pytest.approx(33.0 * 11.0)
    clamped = Integral(kind="integral", of="u", part="clamped")
    assert of(there, clamped, u=one) == pytest.approx(33.0 * 18.0)
    x, y, z = moved.T
    total = sum(
        of(
            there,
            Flux(kind="flux", of="u", and_of=("v", "w"), part=part),
            u=x, v=y, w=z,
        )
        for part in ("clamped", "loaded", "others")
    )  # fmt: skip
    volume = of(there, Integral(kind="integral", of="u"), u=one)
    assert total == pytest.approx(3 * volume)
    bend = GradientFlux(kind="gradient-flux", of="u", part="loaded")  # n = (1, 0, 0)
    assert of(there, bend, u=x**2) == pytest.approx(2 * 110.0 * 33.0 * 11.0)


def test_parts_of_the_wake_of_a_cylinder() -> None:
    """The cylinder's polygon, the inlet, the outlet, and both walls."""
    solver = CylinderWake(resolution=(4, 4))
    points, cells = solver.mesh()
    parts = parts_of(cells, solver.boundary_groups(), 2)
    sizes = {name: facets.on(points).size for name, facets in parts.items()}
    n = 2 * len(parts["cylinder"].on_it) // 2
    assert sizes == pytest.approx(
        {
            "cylinder": n * 2 * 0.05 * np.sin(np.pi / n),
            "inlet": 0.41, "outlet": 0.41, "walls": 4.4,
        },
        rel=1e-3,  # the cylinder's nodes are not evenly spaced
    )  # fmt: skip


def test_what_cannot_be_asked() -> None:
    """One line each, before anything is generated or trained."""
    place = on_mesh(Square().mesh(2))
    u = place.mesh[0][:, 0]
    with pytest.raises(OpkitInputError, match=r"no part 'lef'.*left.*Its parts"):
        of(place, Mean(kind="mean", of="u", part="lef"), u=u)
    with pytest.raises(OpkitInputError, match=r"no side 'left'.*Name a part"):
        of(place, Mean(kind="mean", of="u", side="left"), u=u)
    with pytest.raises(OpkitInputError, match="no subdomain 7"):
        of(place, Mean(kind="mean", of="u", subdomain=7), u=u)
    data = load_case("darcy-mesh").dump()
    for quantity, words in (
        ({"kind": "mean", "part": "iner"}, "quantities.q: .*'iner'.*inner"),
        ({"kind": "mean", "side": "left"}, "quantities.q: .*of a mesh name a part"),
        ({"kind": "gradient-flux"}, "a side of a grid, or a part of a mesh"),
        (
            {"kind": "force", "part": "inner", "direction": [0, 0]},
            "a vector that is not 0",
        ),
        (
            {
                "kind": "force", "part": "inner", "direction": [1, 0],
                "velocity": ["pressure", "pressure"], "viscosity": "1/re",
            },
            "no number per sample 're'",
        ),
    ):  # fmt: skip
        data["quantities"] = {"q": {"of": "pressure", **quantity}}
        with pytest.raises(CaseError, match=words):
            plan(parse_case(data))
