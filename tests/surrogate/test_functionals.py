"""Quantities of interest against closed forms."""

import numpy as np
import pytest

from opkit.case.quantities import (
    Difference,
    Flux,
    Integral,
    Maximum,
    Mean,
    Value,
)
from opkit.errors import CaseError, OpkitInputError
from opkit.solvers.fem.domains import Square
from opkit.surrogate.checks.functionals import evaluate
from opkit.surrogate.checks.places import Place

N = 33
LINE = np.linspace(0, 1, N)
GRID = Place(("y", "x"), (LINE, 2 * LINE), (False, False), (1.0, 2.0))
Y, X = np.meshgrid(LINE, 2 * LINE, indexing="ij")
TORUS = np.arange(N) / N
RING = Place(("y", "x"), (LINE, TORUS), (False, True), (1.0, 1.0))


def annulus(inner: float = 1.0, outer: float = 2.0, n: int = N) -> Place:
    """Radii along y, angles along x, counter-clockwise; x closes."""
    r, angle = np.linspace(inner, outer, n), 2 * np.pi * np.arange(4 * n) / (4 * n)
    points = r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    axes = (np.linspace(0, 1, n), np.arange(4 * n) / (4 * n))
    return Place(("y", "x"), axes, (False, True), (1.0, 1.0), points=points)


def of(place: Place, quantity, **fields) -> float:
    return float(evaluate(quantity, {k: v[None] for k, v in fields.items()}, place)[0])


def test_integrals_of_bilinear_fields_on_a_grid_are_exact() -> None:
    """∫∫ x y over [0, 1] x [0, 2] = 1; the trapezoidal rule is exact for them."""
    u = X * Y
    assert of(GRID, Integral(kind="integral", of="u"), u=u) == pytest.approx(1.0)
    assert of(GRID, Mean(kind="mean", of="u"), u=u) == pytest.approx(0.5)
    right = Integral(kind="integral", of="u", side="right")
    assert of(GRID, right, u=u) == pytest.approx(1.0)  # ∫ 2 y dy
    drop = Difference(kind="difference", of="u", sides=("top", "bottom"))
    assert of(GRID, drop, u=u) == pytest.approx(1.0)  # mean of x at y = 1


def test_a_value_between_nodes() -> None:
    """Bilinear interpolation is exact for x y; a periodic axis closes."""
    at = (0.377, 0.613)
    assert of(GRID, Value(kind="value", of="u", at=at), u=X * Y) == pytest.approx(
        at[0] * at[1]
    )
    wave = np.cos(2 * np.pi * TORUS) + 0 * LINE[:, None]
    beyond = Value(kind="value", of="u", at=(1 - 0.25 / N, 0.5))
    mean = 0.25 * wave[0, -1] + 0.75 * wave[0, 0]
    assert of(RING, beyond, u=wave) == pytest.approx(mean)


def test_maxima() -> None:
    """Of a box, and of absolute values."""
    u = X - 3 * Y
    assert of(GRID, Maximum(kind="maximum", of="u"), u=u) == 2
    largest = Maximum(kind="maximum", of="u", absolute=True)
    assert of(GRID, largest, u=u) == 3
    box = Maximum(kind="maximum", of="u", inside={"x": (0, 1)})
    assert of(GRID, box, u=u) == 1


def test_the_area_of_an_annulus_converges() -> None:
    """π (R² - r²); chords lose O(h²): four times the points, a sixteenth of it."""
    exact = np.pi * (4 - 1)
    errors = []
    for n in (9, 33):
        place = annulus(n=n)
        one = np.ones(place.points.shape[:2])
        errors.append(exact - of(place, Integral(kind="integral", of="u"), u=one))
    assert errors[0] > 0
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.25)


def test_the_flux_of_a_source_is_its_strength() -> None:
    """u = x / |x|²: 2π out of the outer circle, -2π out of the inner; O(h²)."""
    place = annulus()
    x, y = np.moveaxis(place.points, -1, 0)
    fields = {"u": x / (x**2 + y**2), "v": y / (x**2 + y**2)}
    outer = Flux(kind="flux", of="u", and_of="v", side="top")
    inner = Flux(kind="flux", of="u", and_of="v", side="bottom")
    h = 2 * np.pi / (4 * N)
    assert of(place, outer, **fields) == pytest.approx(2 * np.pi, rel=h**2)
    assert of(place, inner, **fields) == pytest.approx(-2 * np.pi, rel=h**2)
    turned = Place(
        place.axes, place.coordinates, place.periodic, place.lengths,
        points=place.points[:, ::-1],
    )  # fmt: skip
    mirrored = {name: field[:, ::-1] for name, field in fields.items()}
    assert of(turned, outer, **mirrored) == pytest.approx(2 * np.pi, rel=h**2)


def test_the_flux_on_a_moved_grid_is_that_on_the_same_grid_at_rest() -> None:
    """A grid moved to where it already lies."""
    moved = Place(
        GRID.axes, GRID.coordinates, GRID.periodic, GRID.lengths,
        points=np.stack([X, Y], -1),
    )  # fmt: skip
    for side in ("left", "right", "bottom", "top"):
        flux = Flux(kind="flux", of="u", and_of="v", side=side)
        fields = {"u": 1 + X * Y, "v": 2 - Y}
        assert of(moved, flux, **fields) == pytest.approx(of(GRID, flux, **fields))


def test_divergence_theorem_on_a_grid() -> None:
    """Fluxes of a divergence-free field of first degree add up to nothing."""
    fields = {"u": X + 3 * Y, "v": 2 * X - Y}
    total = sum(
        of(GRID, Flux(kind="flux", of="u", and_of="v", side=side), **fields)
        for side in ("left", "right", "bottom", "top")
    )
    assert total == pytest.approx(0, abs=1e-12)


def test_integrals_on_a_mesh() -> None:
    """Linear elements integrate x + 2 y exactly; boxes count nodes inside."""
    mesh = Square().mesh(8)
    place = Place(("node",), mesh=(mesh.points, mesh.cells))
    u = mesh.points @ [1.0, 2.0]
    assert of(place, Integral(kind="integral", of="u"), u=u) == pytest.approx(1.5)
    at = Value(kind="value", of="u", at=(0.3, 0.45))
    assert of(place, at, u=u) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("quantity", "error", "words"),
    [
        (Mean(kind="mean", of="w"), CaseError, "no such output"),
        (Value(kind="value", of="u", at=(3, 0)), OpkitInputError, "outside"),
        (Value(kind="value", of="u", at=(1,)), OpkitInputError, "2 coordinates"),
        (Mean(kind="mean", of="u", side="back"), OpkitInputError, "no side 'back'"),
        (
            Mean(kind="mean", of="u", inside={"x": (5, 6)}),
            OpkitInputError,
            "no node lies inside",
        ),
        (
            Mean(kind="mean", of="u", inside={"z": (0, 1)}),
            OpkitInputError,
            "no axis z",
        ),
    ],
)
def test_what_cannot_be_asked(quantity, error, words) -> None:
    """One line each."""
    with pytest.raises(error, match=words):
        of(GRID, quantity, u=X)
