"""Random solutions that vanish on the sides: series of sines with exact derivatives.

With S_m(x) = sin(m π (x + 1) / 2) and v = u e^(-αx - βy), which has no first-order
terms (as far as |α|, |β| ≤ 1 allows),

    elliptic:  v = Σ a_mn S_m(x) S_n(y)
    in time:   v = Σ b_m S_m(x) T_m(y),    T_m the solution of L (S_m T_m) = 0

Half of the elliptic ones have one to four Gaussians as their source, with coefficients
f_mn, and a_mn = f_mn / (c - c_3 k_m² - c_4 k_n²); the others are one to four waves.
Programs of random functions (`manufactured_expressions`) hardly ever vanish on the
boundary, nor have a concentrated source or short waves throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from opkit.pde import jets
from opkit.pde.scale import wave_numbers
from opkit.solvers.manufactured.draws import Draw
from opkit.solvers.manufactured.sources import draw_gaussians

MODES, WAVES, NODES = 24, 4, 129
SHORTEST = 10  # half waves across the square


@dataclass(frozen=True)
class Series:
    """A batch of series.

    Args:
        tilt: (batch, 2), α and β.
        sines: (batch, m, n), a_mn; 0 in time-dependent problems.
        waves: (batch, m), b_m; 0 in elliptic problems.
        start: (batch, m), T_m' at y = -1, T_m being 1 there.
        decay: (batch, m), d, and
        square: (batch, m), q in T'' + 2 d T' + q T = 0; q is inf for T' + 2 d T = 0.
    """

    tilt: Tensor
    sines: Tensor
    waves: Tensor
    start: Tensor
    decay: Tensor
    square: Tensor

    def select(self, rows: Tensor | slice) -> Series:
        """Return the series of these rows."""
        return Series(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def evaluate(self, points: Tensor) -> Tensor:
        """Jets (5, batch, point) at points (batch, point, 2)."""
        along_x, along_y = (_sines(points[..., k]) for k in range(2))
        # v, v_y, v_yy as rows of coefficients of S_m(x).
        in_y = torch.einsum("bmn,kbpn->kbpm", self.sines, along_y)
        in_y[..., :WAVES] += self.waves[:, None] * self._time(points[..., 1])
        x0, x1, x2 = along_x
        v = torch.stack(
            [
                (x0 * in_y[0]).sum(-1),
                (x1 * in_y[0]).sum(-1),
                (x0 * in_y[1]).sum(-1),
                (x2 * in_y[0]).sum(-1),
                (x0 * in_y[2]).sum(-1),
            ]
        )
        a, b = (self.tilt[:, k, None] for k in range(2))
        growth = torch.exp(a * points[..., 0] + b * points[..., 1])
        powers = torch.stack([torch.ones_like(a), a, b, a * a, b * b])
        return jets.product(v, powers * growth)

    def _time(self, y: Tensor) -> Tensor:
        """T_m, T_m', T_m'' (3, batch, point, m) at times y (batch, point)."""
        t = (y + 1)[..., None]
        d, q, start = (z[:, None] for z in (self.decay, self.square, self.start))
        gap = (q - d.square()).nan_to_num(posinf=1.0)
        omega = gap.abs().clamp_min(1e-6).sqrt()
        phase = omega * t
        swing = torch.where(gap > 0, phase.cos(), phase.clamp_max(20).cosh())
        drift = torch.where(gap > 0, phase.sin(), phase.clamp_max(20).sinh()) / omega
        damping = torch.exp(-d * t)
        value = damping * (swing + (start + d) * drift)
        slope = damping * (start * swing - (d * start + d * d + gap) * drift)
        bend = -2 * d * slope - q.nan_to_num(posinf=0.0) * value
        second_order = torch.stack([value, slope, bend])
        powers = torch.stack([torch.ones_like(d), -2 * d, 4 * d * d])
        decaying = powers * torch.exp(-2 * d * t)
        return torch.where(q.isinf(), decaying, second_order)


def _sines(x: Tensor) -> Tensor:
    """S_m and two derivatives (3, batch, point, mode) at x (batch, point)."""
    k = wave_numbers(MODES, x)
    phase = (x + 1)[..., None] * k
    s, c = phase.sin(), phase.cos()
    return torch.stack([s, k * c, -k * k * s])


def draw_series(coefficients: Tensor, frequency: float, draw: Draw) -> Series:
    """Draw solutions that vanish on the sides, for operators (batch, 5).

    Args:
        coefficients: of the operators.
        frequency: waves in time stay below four times this; others are left out.
        draw: source of randomness, device and precision.
    """
    batch = len(coefficients)
    c_0, c_x, c_y, c_xx, c_yy = coefficients.unbind(1)
    elliptic, parabolic = c_xx * c_yy > 0, c_yy == 0
    alpha = (-c_x / (2 * c_xx)).clamp(-1, 1)
    safe = torch.where(parabolic, 1.0, c_yy)
    beta = torch.where(elliptic, (-c_y / (2 * safe)).clamp(-1, 1), 0.0)
    level = c_0 + alpha * (c_x + alpha * c_xx) + beta * (c_y + beta * c_yy)
    k2 = wave_numbers(MODES, coefficients).square()
    symbol = level[:, None, None] - (
        c_xx[:, None, None] * k2[:, None] + c_yy[:, None, None] * k2
    )
    symbol = torch.where(elliptic[:, None, None], symbol, 1.0)
    peaks = _unit(_peaks(batch, draw) / symbol)
    pick = draw.integers(0, 2, batch)[:, None, None].bool()
    sines = torch.where(pick, peaks, _unit(_few_waves(batch, draw)))
    sines = sines * elliptic[:, None, None]
    # c_yy T'' + c_y T' + (level - c_xx k²) T = 0
    held = level[:, None] - c_xx[:, None] * k2[:WAVES]
    first = torch.where(c_y == 0, 1.0, c_y)
    decay = torch.where(
        parabolic[:, None], held / first[:, None] / 2, (c_y / safe / 2)[:, None]
    )
    decay = torch.where(elliptic[:, None], 0.0, decay)
    square = torch.where(parabolic[:, None], torch.inf, held / safe[:, None])
    square = torch.where(elliptic[:, None], 0.0, square)
    place = torch.arange(1, WAVES + 1, device=draw.device)
    waves = draw.normal(batch, WAVES) / place
    waves = waves * (draw.uniform(batch, WAVES) < 0.5)
    slow = square.isinf() | (square <= (4 * frequency) ** 2)
    waves = waves * slow * ~elliptic[:, None]
    start = draw.normal(batch, WAVES) * draw.integers(0, 2, batch, 1)
    start = start * square.abs().nan_to_num(posinf=0.0).sqrt()
    return Series(torch.stack([alpha, beta], 1), sines, waves, start, decay, square)


def _unit(modes: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(modes, dim=(1, 2), keepdim=True)
    return modes / length.clamp_min(1e-30)


def _peaks(batch: int, draw: Draw) -> Tensor:
    """Coefficients f_mn (batch, m, n) of Gaussians."""
    k = wave_numbers(MODES, draw.like)
    nodes = torch.linspace(-1, 1, NODES, device=draw.device, dtype=draw.dtype)
    basis = ((nodes[:, None] + 1) * k).sin() * (2 / (NODES - 1))
    peaks = draw_gaussians(batch, draw)
    in_x, in_y = (peaks.profile(nodes, axis) @ basis for axis in range(2))
    return torch.einsum("bg,bgm,bgn->bmn", peaks.height, in_x, in_y)


def _few_waves(batch: int, draw: Draw) -> Tensor:
    """Coefficients a_mn (batch, m, n), not 0 at `WAVES` places or fewer.

    log m and log n are uniform up to `SHORTEST`: long waves are the rule.
    """
    place = torch.pow(SHORTEST, draw.uniform(batch, WAVES, 2)).long() - 1
    height = draw.normal(batch, WAVES)
    rank = torch.arange(WAVES, device=draw.device)
    height = height * (rank < draw.integers(1, WAVES + 1, batch, 1))
    modes = draw.like.new_zeros(batch, MODES * MODES)
    flat = place[..., 0] * MODES + place[..., 1]
    return modes.scatter_add(1, flat, height).reshape(batch, MODES, MODES)
