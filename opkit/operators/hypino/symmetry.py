"""The symmetries of the square, acting on problems and on written networks.

u(x, y) solves (c, f, g, h) exactly when u(-x, y) solves the mirrored problem, whose c_1
has the other sign; likewise for y, and for the exchange of x and y. So a network reads
a problem in 8 ways (4 of them where y is time: none but x → -x, hence 2), and every
answer, carried back, is an answer to the problem itself. Carrying back is exact: it
changes signs and order of the rows of the first weight matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opkit.operators.hypino.target import FEATURES, FREQUENCIES, Target

FIRST = 3  # weight matrices that read the features


@dataclass(frozen=True)
class Symmetry:
    """Exchange x and y, then mirror.

    Args:
        exchange: x and y.
        mirror_x: x → -x.
        mirror_y: y → -y.
    """

    exchange: bool
    mirror_x: bool
    mirror_y: bool

    def problem(self, coefficients: Tensor, grids: Tensor) -> tuple[Tensor, Tensor]:
        """Carry coefficients (batch, 5) and grids (batch, 5, y, x) over."""
        if self.exchange:
            coefficients = coefficients[:, [0, 2, 1, 4, 3]]
            grids = grids.transpose(2, 3)
        signs = coefficients.new_tensor(
            [1, 1 - 2 * self.mirror_x, 1 - 2 * self.mirror_y, 1, 1]
        )
        axes = [k for k, on in ((2, self.mirror_y), (3, self.mirror_x)) if on]
        return coefficients * signs, grids.flip(axes)

    def carry_back(self, target: Target) -> Target:
        """Turn the answer to the carried problem into one to the problem itself."""
        row, sign = torch.arange(FEATURES), torch.ones(FEATURES)
        half = len(FREQUENCIES)
        # Rows: sin of x, sin of y, cos of x, cos of y, x, y.
        for on, sine, linear in (
            (self.mirror_x, slice(0, half), FEATURES - 2),
            (self.mirror_y, slice(half, 2 * half), FEATURES - 1),
        ):
            if on:
                sign[sine] = -1.0
                sign[linear] = -1.0
        if self.exchange:
            row = _exchanged()
        first = [(w * sign.to(w)[:, None])[:, row] for w in target.weights[:FIRST]]
        weights = (*first, *target.weights[FIRST:])
        return replace(target, weights=weights)


def _exchanged() -> Tensor:
    half = len(FREQUENCIES)
    waves = torch.arange(4 * half).reshape(2, 2, half).flip(1).flatten()
    return torch.cat([waves, torch.tensor([FEATURES - 1, FEATURES - 2])])


def symmetries(elliptic: bool) -> list[Symmetry]:
    """All 8, or the 2 that leave time alone; the identity first."""
    both = (False, True)
    if not elliptic:
        return [Symmetry(False, mirror, False) for mirror in both]
    return [Symmetry(e, x, y) for e in both for x in both for y in both]
