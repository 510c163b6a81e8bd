"""Answers of trained processes in few passes over memory, for queries one at a time.

    s g(z) = Σ_n A_n m(a_n) + c + L·z,   a_n² = Σ_d W_d (z_d - x_nd)²,
    m(a) = (1 + a + a²/3) e^{-a},
    W = 5 / ℓ²,   A = s σ_f² α,   c = s σ_l² Σ_n α_n,   L = s σ_l² Σ_n α_n x_n:

`process.mean` times the standard deviation s of a coefficient, with all that does not
depend on z multiplied once. In float32 where that changes the answer by less than
`PART` of what the modes leave out of the training outputs, else in float64.

Windows overlap. Points under the same windows make a patch, and the modes of all its
windows one matrix, so that a value is written once and not added up.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Indices
from opkit.operators.pod_gp import process
from opkit.operators.pod_gp.windows import Windows

PART = 0.1
"""Largest change by float32, of the root mean square of what the modes leave out."""
TRIED = 8
"""Inputs at which that change is measured."""
MERGED = 2000
"""Sets of windows up to which those that lie within another one are joined to it."""


class Coefficients:
    """Coefficients of the modes of every window, times their standard deviations.

    Args:
        theta: hyperparameters (window, process, input + 3).
        x: inputs learnt from (window, n, input).
        alpha: K⁻¹ y (window, process, n).
        scale: s (window, process).
        dtype: of m and of the result.
    """

    def __init__(
        self, theta: Tensor, x: Tensor, alpha: Tensor, scale: Tensor, dtype: torch.dtype
    ) -> None:
        p, self.dtype = x.shape[-1], dtype
        signal, linear = theta[..., p : p + 1].exp(), theta[..., p + 1 : p + 2].exp()
        scaled = scale[..., None] * alpha
        level = (linear * scaled.sum(-1, keepdim=True)).mT
        ones = torch.ones_like(level[..., :1])
        slope = (linear * (scaled @ x)).mT
        steepness, weights = 5 * (-2 * theta[..., :p]).exp(), signal * scaled
        # one process more, which is 1: the mean of the outputs is added as a mode
        self._x = x.mT.to(dtype).contiguous()
        self._steepness = F.pad(steepness, (0, 0, 0, 1)).to(dtype)
        self._weights = F.pad(weights, (0, 0, 0, 1))[..., None].to(dtype)
        self._slope = F.pad(slope, (0, 1)).to(dtype)
        self._level = torch.cat([level, ones], -1).to(dtype)

    def __call__(self, z: Tensor) -> Tensor:
        """Return (window, batch, process) at inputs (window, batch, input).

        The last one is 1.
        """
        z = z.to(self.dtype)
        off = (z[..., None] - self._x[:, None]).square()
        squared = self._steepness[:, None] @ off
        # the slope of √ is infinite at 0, where that of m is 0
        a = squared.clamp(min=1e-30).sqrt()
        decay = (-a).exp_()
        matern = torch.addcmul(decay, decay, a.add_(squared, alpha=1 / 3))
        bent = (matern.transpose(1, 2) @ self._weights)[..., 0].mT
        return torch.baddbmm(self._level, z, self._slope).add_(bent)


def coefficients(
    theta: Tensor, x: Tensor, alpha: Tensor, scale: Tensor, energy: Tensor
) -> Coefficients:
    """Return `Coefficients` in float32 where that is accurate enough, else in float64.

    Args:
        theta: as `Coefficients`.
        x: the same.
        alpha: the same.
        scale: the same.
        energy: share of the variance in the modes (window,).
    """
    single = Coefficients(theta, x, alpha, scale, torch.float32)
    rows = torch.linspace(0, x.shape[1] - 2, TRIED).round().long().to(x.device)
    z = (x[:, rows] + x[:, rows + 1]) / 2
    exact = process.mean(theta, x, alpha, z).mT * scale[:, None]
    change = (single(z)[..., :-1] - exact).square().mean(1).sum()
    variance = scale.square().sum(-1)
    outside = (variance * (1 / energy.clamp(min=1e-30) - 1)).sum()
    if change <= PART**2 * outside:
        return single
    return Coefficients(theta, x, alpha, scale, torch.float64)


class Patches:
    """Sums of the modes of all windows, in float32.

    Args:
        windows: points and weights of every window.
        modes: (window, mode, channel, point of it), 0 where filled up.
        mean: of the outputs (channel, point).
    """

    def __init__(self, windows: Windows, modes: Tensor, mean: Tensor) -> None:
        channels, points = mean.shape
        of_set, sets = _sets(windows, points)
        sizes = np.bincount(of_set, minlength=len(sets))
        size = _size(sizes)
        pieces = -(-sizes // size)  # of each set, of at most so many points
        first = np.cumsum(pieces) - pieces
        order = np.argsort(of_set, kind="stable")
        rank = np.empty(points, dtype=np.int64)
        rank[order] = np.arange(points) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        patch, place = first[of_set] + rank // size, rank % size
        members = [np.flatnonzero(row) for row in sets]
        most = max(map(len, members))
        count, total = modes.shape[1], int(pieces.sum())
        basis = torch.zeros(total, most, count + 1, channels, size)
        fields = basis[:, :, :-1]
        of_patch = torch.zeros(total, most, dtype=torch.long)
        slots = np.zeros((len(sets), len(modes)), dtype=np.int64)
        for k, ids in enumerate(members):
            slots[k, ids] = np.arange(len(ids))
            row = torch.zeros(most, dtype=torch.long)
            row[: len(ids)] = torch.from_numpy(ids)
            of_patch[first[k] : first[k] + pieces[k]] = row
        for w, own in enumerate(modes.detach().float().cpu()):
            at = windows.points[w]
            spots = patch[at], slots[of_set[at], w], place[at]
            one, slot, spot = (torch.from_numpy(index) for index in spots)
            picked = own[..., : len(at)].permute(2, 0, 1)  # (point, mode, channel)
            fields[one, slot, :, :, spot] = picked
        basis[patch, 0, -1, :, place] = mean.detach().float().cpu().T
        device = modes.device
        self._windows = of_patch.flatten().to(device)
        self._most = most
        self._shape = mean.shape
        self._basis = basis.view(total, most * (count + 1), -1).to(device)
        where = (patch * channels + np.arange(channels)[:, None]) * size + place
        self._where: Tensor | None = None  # the points as they are in one patch
        if total > 1:
            # of few bytes, for all of them are read for each answer
            kind = np.int32 if basis.numel() < 2**31 else np.int64
            self._where = torch.from_numpy(where.ravel().astype(kind)).to(device)

    def __call__(self, g: Tensor) -> Tensor:
        """Return (batch, channel, point).

        Args:
            g: coefficients (window, batch, mode + 1), the last one of which is 1.
        """
        shape = (len(self._basis), self._most, *g.shape[1:])
        g = g.index_select(0, self._windows).view(shape).transpose(1, 2).flatten(2)
        u = (g @ self._basis).transpose(0, 1).flatten(1)
        if self._where is not None:
            u = u.index_select(1, self._where)
        return u.view(g.shape[1], *self._shape)


def _sets(windows: Windows, points: int) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the set of windows of every point (point,), and the sets (set, window)."""
    over = np.zeros((points, len(windows.places)), dtype=bool)
    for w, places in enumerate(windows.points):
        over[places, w] = True
    packed, first, of_set = np.unique(
        np.packbits(over, axis=1), axis=0, return_index=True, return_inverse=True
    )
    sets, of_set = over[first], of_set.reshape(-1)
    if len(packed) > MERGED:
        return of_set, sets
    # on the middle of a window there is no other: such points go to a patch beside
    common = sets.astype(np.int32) @ sets.T.astype(np.int32)
    number = common.diagonal()
    within = common == number[:, None]  # (set, set that holds it)
    target = np.where(within, number, -1).argmax(axis=1)
    kept, renamed = np.unique(target, return_inverse=True)
    return renamed.reshape(-1)[of_set], sets[kept]


def _size(sizes: Indices) -> int:
    """Points of a patch for which the fewest are filled up."""
    tried = np.unique(sizes[sizes > 0])
    filled = [int(size * np.sum(-(-sizes // size))) for size in tried]
    return int(tried[int(np.argmin(filled))])
