"""Pairs of near points, searched once for each set of points.

    ∫_{|y - x| < r} κ(x, y) v(y) dμ(y)  ≈  Σ_j m_j κ(x, y_j) v_j / Σ_j m_j

with m_j = w_j (1 - s²)², w_j the quadrature weights and s = |x - y_j| / r, so that a
point that crosses the radius changes nothing at once. Pairs come from scipy's cKDTree.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

KEPT = 50_000_000
"""Pairs that a search keeps for later calls, of all sets of points together."""
GIB = 2**30
AT_REST = 96
"""Bytes of a pair where no gradient is asked for: indices, features and weight."""


@dataclass(frozen=True)
class Pairs:
    """Near points: to each of ``count`` targets the sources around it.

    Args:
        target: (pair,) index, sorted.
        source: (pair,) index.
        count: number of targets.
        features: (pair, feature) of a pair, as the kernel sees it.
        weights: (pair,) part of the integral that the pair has.
    """

    target: Tensor
    source: Tensor
    count: int
    features: Tensor
    weights: Tensor


class Search:
    """Finds the sources within a radius of each target, and keeps what it found.

    Args:
        operator: name, for messages.
        radius: of the neighbourhoods; None for all pairs.
        memory: GiB that the pairs of a step may take.
        floats: numbers that a step holds for a pair, of a batch of one; and more for
            each sample of a batch.
    """

    def __init__(
        self,
        operator: str,
        radius: float | None,
        memory: float,
        floats: tuple[int, int],
    ) -> None:
        self.operator, self.radius, self.memory = operator, radius, memory
        self.floats = floats
        self._kept: OrderedDict[bytes, Array] = OrderedDict()

    def __call__(
        self,
        targets: list[Array],
        sources: list[Array],
        batch: int,
        alone: bool,
    ) -> Array:
        """Return pairs (2, pair) of targets and sources, laid one after another.

        Args:
            targets: (target, column) of each sample.
            sources: (source, column) of each.
            batch: samples that share these pairs.
            alone: whether the targets are the sources, and none may be alone.

        Raises:
            OpkitInputError: the pairs do not fit into memory, or a point is alone.
        """
        found, start = [], np.zeros((2, 1), np.int64)
        left = self.memory * GIB
        for own, around in zip(targets, sources, strict=True):
            pairs = self._of(own, around, batch, left, alone)
            left -= pairs.shape[1] * self._bytes(batch)
            found.append(pairs + start)
            start = start + np.array([[len(own)], [len(around)]])
        return np.concatenate(found, 1)

    def _bytes(self, batch: int) -> int:
        """Bytes of a pair in a call."""
        if not torch.is_grad_enabled():
            return AT_REST
        return AT_REST + 4 * (self.floats[0] + batch * self.floats[1])

    def _of(
        self, targets: Array, sources: Array, batch: int, left: float, alone: bool
    ) -> Array:
        """Pairs of one set of points."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (targets, sources):
            digest.update(np.array(part.shape).tobytes() + part.tobytes())
        key = digest.digest()
        kept = self._kept.get(key)
        if kept is not None:
            self._affordable(kept.shape[1], len(targets), batch, left)
            self._kept.move_to_end(key)
            return kept
        pairs = self._searched(targets, sources, batch, left, alone)
        self._kept[key] = pairs
        while sum(p.shape[1] for p in self._kept.values()) > KEPT:
            self._kept.popitem(last=False)
        return pairs

    def _searched(
        self, targets: Array, sources: Array, batch: int, left: float, alone: bool
    ) -> Array:
        if self.radius is None:
            self._affordable(len(targets) * len(sources), len(targets), batch, left)
            both = np.indices((len(targets), len(sources))).reshape(2, -1)
            return both.astype(np.int64)
        tree, others = cKDTree(targets), cKDTree(sources)
        count = int(tree.count_neighbors(others, self.radius))
        self._affordable(count, len(targets), batch, left)
        if alone and len(targets) > 1:
            nearest = tree.query(targets, k=2)[0][:, 1]
            if nearest.max() >= self.radius:
                point = int(nearest.argmax())
                raise OpkitInputError(
                    f"operator {self.operator}: the nearest neighbour of point {point} "
                    f"is {nearest[point]:.3g} of the domain's length away, beyond the "
                    f"radius {self.radius:g}: set model.radius="
                    f"{_above(1.5 * float(nearest[point])):g}"
                )
        near = tree.sparse_distance_matrix(others, self.radius, output_type="ndarray")
        order = np.lexsort((near["j"], near["i"]))
        return np.stack([near["i"][order], near["j"][order]]).astype(np.int64)

    def _affordable(self, pairs: int, points: int, batch: int, left: float) -> None:
        """Refuse pairs that do not fit, before they are made.

        Raises:
            OpkitInputError: says how much they would take.
        """
        need = pairs * self._bytes(batch)
        if need <= left:
            return
        reach = "no radius" if self.radius is None else f"radius {self.radius:g}"
        smaller = "" if self.radius is None else "a smaller model.radius, "
        raise OpkitInputError(
            f"operator {self.operator}: {reach} catches {pairs / max(points, 1):.0f} "
            f"neighbours for each of {points} points, {need / GIB:.1f} GiB for a batch "
            f"of {batch}, and {max(left, 0) / GIB:.1f} GiB of model.memory are left: "
            f"set {smaller}a smaller training.batch_size or training.points, or a "
            "larger model.memory"
        )


def _above(length: float) -> float:
    """Return a length with two digits, rounded up."""
    unit = 10.0 ** (np.floor(np.log10(length)) - 1) if length > 0 else 1.0
    return float(np.ceil(length / unit) * unit)


def described(
    pairs: Array,
    targets: Tensor,
    sources: Tensor,
    weights: Tensor,
    radius: float | None,
    floor: float = 0.0,
) -> Pairs:
    """Return what kernels see of pairs, with gradients to the places.

    Args:
        pairs: (2, pair) of targets and sources.
        targets: (target, column) places.
        sources: (source, column).
        weights: (source,) of the quadrature.
        radius: of the neighbourhoods.
        floor: added to the sum of weights around a target: an integral over fewer
            sources than that fades out.
    """
    target, source = (torch.from_numpy(row).to(targets.device) for row in pairs)
    here, there = targets[target], sources[source]
    step = (there - here) / (radius or 1.0)
    square = step.square().sum(1)
    part = weights[source]
    if radius is not None:
        part = part * (1 - square).clamp(min=0).square()
    total = part.new_zeros(len(targets)).index_add(0, target, part)
    # not sqrt(0), whose slope is infinite
    length = (square + 1e-12).sqrt()
    features = torch.cat([here, step, length[:, None]], 1)
    part = part / (total + floor).clamp(min=torch.finfo(part.dtype).tiny)[target]
    return Pairs(target, source, len(targets), features, part)
