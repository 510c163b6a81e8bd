"""Random smooth functions of (x, y) with exact derivatives, a batch at a time.

A function is a program of 6 to 10 steps that starts from u = 0; each step is one of

    u ← u + d ψ(a x + b y + c) + e,   u ← u · (d ψ(a x + b y + c) + e),   u ← d ψ(u) + e

with ψ out of x, sin, cos, tanh, the logistic function and 1/(1 + x²). Derivatives
follow the product and chain rules on jets (`opkit.pde.jets`): nothing is differentiated
automatically.

Distribution: Bischof et al., HyPINO, NeurIPS 2025, arXiv:2509.05117.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from opkit.pde import jets
from opkit.solvers.manufactured.draws import Draw

Derivatives = tuple[Tensor, Tensor, Tensor]
ADD, MULTIPLY, COMPOSE = range(3)


def _identity(z: Tensor) -> Derivatives:
    return z, torch.ones_like(z), torch.zeros_like(z)


def _sin(z: Tensor) -> Derivatives:
    s, c = torch.sin(z), torch.cos(z)
    return s, c, -s


def _cos(z: Tensor) -> Derivatives:
    s, c = torch.sin(z), torch.cos(z)
    return c, -s, -c


def _tanh(z: Tensor) -> Derivatives:
    t = torch.tanh(z)
    slope = 1 - t.square()
    return t, slope, -2 * t * slope


def _logistic(z: Tensor) -> Derivatives:
    s = torch.sigmoid(z)
    slope = s * (1 - s)
    return s, slope, slope * (1 - 2 * s)


def _bump(z: Tensor) -> Derivatives:
    r = 1 / (1 + z.square())
    slope = -2 * z * r.square()
    return r, slope, 2 * r.square() * (4 * z.square() * r - 1)


FUNCTIONS: tuple[Callable[[Tensor], Derivatives], ...] = (
    _identity,
    _sin,
    _cos,
    _tanh,
    _logistic,
    _bump,
)


@dataclass(frozen=True)
class Programs:
    """A batch of programs.

    Args:
        function: (batch, step), index into `FUNCTIONS`.
        rule: (batch, step), `ADD`, `MULTIPLY`, `COMPOSE`, or -1 to skip the step.
        numbers: (batch, step, 5), a, b, c, d, e.
    """

    function: Tensor
    rule: Tensor
    numbers: Tensor

    def select(self, rows: Tensor | slice) -> Programs:
        """Return the programs of these rows."""
        return Programs(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def evaluate(self, points: Tensor) -> Tensor:
        """Jets (5, batch, point) at points (batch, point, 2)."""
        u = points.new_zeros(5, *points.shape[:2])
        numbers = self.numbers.to(points.dtype)
        for step in range(self.rule.shape[1]):
            for rule in (ADD, MULTIPLY, COMPOSE):
                for k, function in enumerate(FUNCTIONS):
                    chosen = (self.rule[:, step] == rule) & (
                        self.function[:, step] == k
                    )
                    rows = chosen.nonzero()[:, 0]
                    if len(rows):
                        u[:, rows] = _step(
                            rule,
                            function,
                            numbers[rows, step, :, None],
                            u[:, rows],
                            points[rows],
                        )
        return u


def _step(
    rule: int,
    function: Callable[[Tensor], Derivatives],
    numbers: Tensor,
    u: Tensor,
    points: Tensor,
) -> Tensor:
    a, b, c, d, e = numbers.unbind(1)
    if rule == COMPOSE:
        term = d * jets.compose(*function(u[0]), u)
    else:
        f0, f1, f2 = function(a * points[..., 0] + b * points[..., 1] + c)
        f1, f2 = d * f1, d * f2
        term = torch.stack([d * f0, a * f1, b * f1, a * a * f2, b * b * f2])
    term[0] += e
    if rule == ADD:
        return u + term
    return jets.product(u, term) if rule == MULTIPLY else term


def draw_programs(
    batch: int, steps: tuple[int, int], frequency: float, draw: Draw
) -> Programs:
    """Draw programs.

    Args:
        batch: how many.
        steps: smallest and largest number of steps, the number being uniform.
        frequency: a and b are 0 with probability 1/2, else uniform in ± frequency.
        draw: source of randomness, device and precision.
    """
    most = steps[1]
    lengths = draw.integers(steps[0], most + 1, batch, 1)
    place = torch.arange(most, device=draw.device)
    rule = draw.integers(0, 3, batch, most).masked_fill(place >= lengths, -1)
    zero = draw.integers(0, 2, batch, most, 2).bool()
    slopes = (frequency * draw.symmetric(batch, most, 2)).masked_fill(zero, 0.0)
    offsets = 2 * math.pi * draw.symmetric(batch, most, 3)
    last = place == lengths - 1  # the last step neither scales nor shifts
    offsets[..., 1] = offsets[..., 1].masked_fill(last, 1.0)
    offsets[..., 2] = offsets[..., 2].masked_fill(last, 0.0)
    function = draw.integers(0, len(FUNCTIONS), batch, most)
    return Programs(function, rule, torch.cat([slopes, offsets], -1))
