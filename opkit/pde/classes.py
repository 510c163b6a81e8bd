"""Classes of a linear second-order PDE, and the conditions each is well-posed with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from opkit.errors import OpkitInputError
from opkit.pde import SIDES
from opkit.pde.geometry import Geometry

CLASSES = ("elliptic", "parabolic", "hyperbolic")
ELLIPTIC, PARABOLIC, HYPERBOLIC = range(3)


def classify(coefficients: Sequence[float]) -> str:
    """Class of an operator, out of `CLASSES`.

    Args:
        coefficients: of u, u_x, u_y, u_xx, u_yy.

    Raises:
        OpkitInputError: no second-order term, or no well-posed problem with y as time.
    """
    _, c_x, c_y, c_xx, c_yy = (float(c) for c in coefficients)
    if not all(math.isfinite(c) for c in coefficients):
        raise OpkitInputError("a coefficient is not finite: give finite numbers")
    if c_xx == 0 and c_yy == 0:
        raise OpkitInputError(
            "the operator has no second-order term: add u_xx or u_yy (first-order "
            "equations are not solved here)"
        )
    if c_xx * c_yy > 0:
        return CLASSES[ELLIPTIC]
    if c_xx * c_yy < 0:
        return CLASSES[HYPERBOLIC]
    if c_yy != 0:
        remedy = "name the coordinates so that y is time and the second derivative u_xx"
        what = "x is time" if c_x != 0 else "there is no derivative in x"
        raise OpkitInputError(f"u_yy stands without u_xx, so {what}: {remedy}")
    if c_y == 0:
        raise OpkitInputError(
            "u_xx stands without any derivative in y: that is an ordinary differential "
            "equation in x; add u_y (heat) or u_yy"
        )
    if c_y * c_xx > 0:
        raise OpkitInputError(
            "u_y and u_xx have equal signs: the heat equation run backwards is "
            "ill-posed; flip one sign (u_y - a u_xx, a > 0)"
        )
    return CLASSES[PARABOLIC]


def check_conditions(coefficients: Sequence[float], geometry: Geometry) -> None:
    """Refuse a mix of boundary conditions that does not fit the operator.

    Args:
        coefficients: of u, u_x, u_y, u_xx, u_yy.
        geometry: a batch of one.

    Raises:
        OpkitInputError: names the side or hole at fault and what it needs.
    """
    kind = classify(coefficients)
    u, flux = geometry.dirichlet[0].tolist(), geometry.neumann[0].tolist()
    if not any(u) and not any(flux):
        raise OpkitInputError(
            "no boundary condition at all: give at least u on one side, such as "
            "'u = 0 on all'"
        )
    owner = geometry.hole_of_piece().tolist()
    timed = kind != CLASSES[ELLIPTIC]
    if timed and bool(geometry.present[0, 4:].any()):
        raise OpkitInputError(
            f"a hole in a {kind} problem would prescribe data in its future: "
            "holes are for elliptic problems only"
        )
    for piece, present in enumerate(geometry.present[0].tolist()):
        if not present:
            continue
        name = SIDES[piece] if piece < 4 else f"hole {owner[piece] + 1}"
        conditions = (u[piece], flux[piece])
        if timed and name == "top" and any(conditions):
            raise OpkitInputError(
                f"top is the final time of a {kind} problem: give no condition there"
            )
        if timed and name == "bottom":
            needed = (True, kind == CLASSES[HYPERBOLIC])
            if conditions != needed:
                what = "u and u_n" if needed[1] else "u alone"
                raise OpkitInputError(
                    f"bottom is the initial time of a {kind} problem: give {what} there"
                )
        elif not (timed and name == "top") and sum(conditions) != 1:
            fault = "has no condition" if sum(conditions) == 0 else "has both u and u_n"
            raise OpkitInputError(
                f"{name} {fault}: a {kind} problem needs exactly one of them there"
            )
    # A constant is in the kernel of L exactly when c_0 = 0.
    if not any(u) and float(coefficients[0]) == 0:
        raise OpkitInputError(
            "only u_n is given and the operator has no u term: u is determined up to a "
            "constant; give u on one side"
        )
