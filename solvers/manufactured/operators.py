"""Random operators L = c_0 + c_1 ∂x + c_2 ∂y + c_3 ∂xx + c_4 ∂yy, well-posed by class.

y is time in parabolic and hyperbolic problems. What is drawn:

- elliptic: c_3 c_4 > 0; c_0 of the sign that makes L coercive, or up to 0.8 of the
  first eigenvalue of the square where every condition is Dirichlet.
- parabolic: c_4 = 0 and c_2 c_3 < 0, so that heat flows forwards.
- hyperbolic: c_3 c_4 < 0.

In the last two no lower-order term alone makes u grow faster than e^y.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opkit.pde.classes import ELLIPTIC, HYPERBOLIC
from opkit.pde.geometry import Geometry
from opkit.solvers.manufactured.draws import Draw

SMALLEST = 0.02


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
    present = draw.uniform(batch, 5) < lower
    elliptic, parabolic, hyperbolic = (kinds == k for k in range(3))
    present[:, 3] = True
    present[:, 4] = ~parabolic
    present[parabolic, 2] = True
    c = c * sign * present
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
