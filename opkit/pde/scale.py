"""The size of a problem, and problems brought to unit size.

With k = π/2, the lowest wave number of the square,

    λ_mn = |c_0| + m k |c_1| + n k |c_2| + (m k)² |c_3| + (n k)² |c_4|

is the size of L on the product of the sines of m and n half waves. λ = λ_11 is that on
the smoothest functions, and max(|g|, |h| / k, (Σ (f_mn / λ_mn)² / area)^½), with the
coefficients f_mn of the source, estimates that of u. The problem is linear, so both may
be divided out and put back: a network then reads every problem at one size, whatever
its units and however short its waves.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from opkit.pde.batch import UNIT, Problems

WAVE_NUMBER = math.pi / 2
MODES = 16


def operator_size(coefficients: Tensor) -> Tensor:
    """λ (batch,) of coefficients (batch, 5)."""
    return mode_sizes(coefficients, 1)[:, 0, 0]


def mode_sizes(coefficients: Tensor, modes: int) -> Tensor:
    """λ_mn (batch, n, m) of (batch, 5): n half waves along y, m along x."""
    k = wave_numbers(modes, coefficients)
    c_0, c_x, c_y, c_xx, c_yy = coefficients.abs()[..., None, None].unbind(1)
    return c_0 + (c_x + c_xx * k) * k + ((c_y + c_yy * k) * k).transpose(1, 2)


def wave_numbers(modes: int, like: Tensor) -> Tensor:
    """Return m π / 2 (mode,), the wave numbers of S_m(x) = sin(m π (x + 1) / 2)."""
    place = torch.arange(1, modes + 1, device=like.device, dtype=like.dtype)
    return WAVE_NUMBER * place


def source_modes(source: Tensor, nodes: Tensor, modes: int) -> Tensor:
    """Coefficients f_mn (batch, n, m) of a source (batch, y, x) given at nodes (n,).

    Args:
        source: 0 outside the domain.
        nodes: equidistant in [-1, 1], the same along x and y: end points included, or
            midpoints of cells.
        modes: how many of either direction.
    """
    spacing = nodes[1] - nodes[0]
    sines = ((nodes[:, None] + 1) * wave_numbers(modes, nodes)).sin() * spacing
    return sines.T @ source @ sines  # ∫ S_m² = 1, and S_m = 0 at the end points


def operator_factor(coefficients: Tensor) -> Tensor:
    """What to multiply L and f by for λ = `UNIT` and a positive u_xx, (batch,)."""
    return UNIT / operator_size(coefficients) * coefficients[:, 3].sign()


def data_size(coefficients: Tensor, grids: Tensor, inside: Tensor) -> Tensor:
    """Estimate |u| (batch,) as max(|g|, |h| / k, size of f / L); 1 without any data.

    What `MODES` half waves, or those the grid resolves, miss of the source counts as
    if it were the shortest of them, so that no source is taken for 0.

    Args:
        coefficients: (batch, 5).
        grids: (batch, 5, y, x) as in `Problems`.
        inside: (batch, y, x), whether a grid point lies in the domain.
    """
    source = grids[:, 4] * inside
    n = source.shape[-1]
    nodes = torch.linspace(-1, 1, n, dtype=source.dtype, device=source.device)
    resolved = min(MODES, n // 2)
    sizes = mode_sizes(coefficients, resolved)
    modes = source_modes(source, nodes, resolved) / sizes
    spread = inside.to(source.dtype).mean((1, 2)).clamp_min(1e-3).sqrt()
    smooth = modes.square().sum((1, 2)).sqrt() / (2 * spread)  # the square has area 4
    rough = source.square().mean((1, 2)).sqrt() / spread / sizes[:, -1, -1]
    value, flux = grids[:, 2:4].abs().amax((2, 3)).unbind(1)
    size = torch.stack([value, flux / WAVE_NUMBER, smooth, rough]).amax(0)
    return torch.where(size > 0, size, 1.0)


def scale_data(grids: Tensor, factor: Tensor) -> Tensor:
    """Multiply g, h and f of grids (batch, 5, y, x) by (batch,), not their masks."""
    masks, data = grids[:, :2], grids[:, 2:]
    return torch.cat([masks, data * factor[:, None, None, None]], 1)


def normalise(problems: Problems) -> Problems:
    """The same problems with λ = `UNIT`, c_3 > 0 and data of size 1."""
    factor = operator_factor(problems.coefficients)
    size = data_size(problems.coefficients, problems.grids, problems.inside)
    shrink = 1 / size
    grids = scale_data(problems.grids, shrink)
    grids[:, 4] *= factor[:, None, None]
    return replace(
        problems,
        coefficients=problems.coefficients * factor[:, None],
        grids=grids,
        source=problems.source * (factor * shrink)[:, None],
        solution=problems.solution * shrink[:, None],
        solution_grid=problems.solution_grid * shrink[:, None, None],
        dirichlet_values=problems.dirichlet_values * shrink[:, None],
        neumann_values=problems.neumann_values * shrink[:, None],
    )
