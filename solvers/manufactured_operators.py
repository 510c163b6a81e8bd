"""Random operators L = c_0 + c_1 ∂x + c_2 ∂y + c_3 ∂xx + c_4 ∂yy, well-posed by class.

y is time in parabolic and hyperbolic problems. What is drawn:

- elliptic: c_3 c_4 > 0; c_0 of the sign that makes L coercive, or up to 0.8 of the
  first eigenvalue of the square where every condition is Dirichlet.
- parabolic: c_4 = 0 and c_2 c_3 < 0, so that heat flows forwards.
- hyperbolic: c_3 c_4 < 0.

In the last two no lower-order term alone makes u grow faster than e^y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.solvers.manufactured_geometry import Geometry
from opkit.solvers.manufactured_random import Draw

CLASSES = ("elliptic", "parabolic", "hyperbolic")
ELLIPTIC, PARABOLIC, HYPERBOLIC = range(3)
SMALLEST = 0.02
SIDES = ("left", "right", "bottom", "top")


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
        given = (u[piece], flux[piece])
        if timed and name == "top" and any(given):
            raise OpkitInputError(
                f"top is the final time of a {kind} problem: give no condition there"
            )
        if timed and name == "bottom":
            needed = (True, kind == CLASSES[HYPERBOLIC])
            if given != needed:
                what = "u and u_n" if needed[1] else "u alone"
                raise OpkitInputError(
                    f"bottom is the initial time of a {kind} problem: give {what} there"
                )
        elif not (timed and name == "top") and sum(given) != 1:
            fault = "has no condition" if sum(given) == 0 else "has both u and u_n"
            raise OpkitInputError(
                f"{name} {fault}: a {kind} problem needs exactly one of them there"
            )
    # A constant is in the kernel of L exactly when c_0 = 0.
    if not any(u) and float(coefficients[0]) == 0:
        raise OpkitInputError(
            "only u_n is given and the operator has no u term: u is determined up to a "
            "constant; give u on one side"
        )


def draw_conditions(
    geometry: Geometry, kinds: Tensor, neumann: float, draw: Draw
) -> None:
    """Draw which condition each piece carries, in place: one condition, well-posed.

    Sides are Neumann with probability `neumann` and holes with probability 1/2; an
    elliptic problem keeps at least one Dirichlet side.
    """
    batch, pieces = geometry.present.shape
    chance = draw.uniform(batch, geometry.holes + 4)
    flux = chance < 0.5
    flux[:, :4] = chance[:, :4] < neumann
    flux[:, 0] &= ~flux[:, :4].all(1)
    owner = geometry.hole_of_piece()
    column = torch.where(
        owner < 0, torch.arange(pieces, device=owner.device), owner + 4
    )
    flux = flux[:, column]
    geometry.neumann.copy_(flux & geometry.present)
    geometry.dirichlet.copy_(~flux & geometry.present)
    timed = kinds != ELLIPTIC
    geometry.dirichlet[timed, 2] = True
    geometry.neumann[:, 2] = torch.where(
        timed, kinds == HYPERBOLIC, geometry.neumann[:, 2]
    )
    geometry.dirichlet[timed, 3] = geometry.neumann[timed, 3] = False


def draw_operators(
    kinds: Tensor, geometry: Geometry, lower: float, draw: Draw
) -> Tensor:
    """Draw coefficients (batch, 5): what the class needs, and other terms.

    A term the class does not need occurs with probability `lower`. Magnitudes are
    U(0.02, 2); signs are free up to what the class needs, and an
    overall sign.
    """
    batch = len(kinds)
    c = SMALLEST + (2 - SMALLEST) * draw.uniform(batch, 5)
    sign = 1 - 2 * draw.integers(0, 2, batch, 5).to(c.dtype)
    kept = draw.uniform(batch, 5) < lower
    elliptic, parabolic, hyperbolic = (kinds == k for k in range(3))
    kept[:, 3] = True
    kept[:, 4] = ~parabolic
    kept[parabolic, 2] = True
    c = c * sign * kept
    c[:, 3] = c[:, 3].abs()
    c[:, 4] = torch.where(elliptic, c[:, 4].abs(), -c[:, 4].abs())
    c[:, 2] = torch.where(parabolic, -c[:, 2].abs(), c[:, 2])
    # Now u_xx has coefficient > 0, and time runs with c_y < 0 or c_yy < 0.
    first = torch.pi**2 / 4 * (c[:, 3] + c[:, 4])
    first = first + c[:, 1] ** 2 / (4 * c[:, 3])
    first = first + c[:, 2] ** 2 / (4 * c[:, 4].abs().clamp_min(SMALLEST))
    limit = torch.where(geometry.neumann.any(1), 0.0, 0.8 * first)
    limit = torch.where(parabolic, c[:, 2].abs(), limit)
    limit = torch.where(hyperbolic, c[:, 4].abs(), limit)
    c[:, 0] = torch.where(c[:, 0] > limit, -c[:, 0], c[:, 0])
    antidamped = hyperbolic & (c[:, 2] > -c[:, 4])
    c[:, 2] = torch.where(antidamped, -c[:, 2], c[:, 2])
    scaled: Tensor = c * sign[:, 3:4]
    return scaled
