"""What a generation will make, before anything is made: samples, shards, bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opkit.case.data import DType, draw, header_of
from opkit.case.record import Case
from opkit.datasets.header import Header
from opkit.errors import CaseError
from opkit.solvers.interface import CELLS, MESH_ARRAYS, POINTS, Solver

SHARD_BYTES = 32 << 20
SHARDS = 50  # at most one of so many is lost a worker; more cost syncs
BATCH_POINTS = 1 << 16


@dataclass(frozen=True)
class Plan:
    """Sizes of a generation.

    Args:
        header: of the file to be made.
        shard_samples: samples a shard; a crash loses at most one shard a worker.
        batch_samples: samples solved at once.
        file_bytes: size of the finished file without compression.
        disk_bytes: needed while the shards become the file.
        memory_bytes: estimate for one worker: a batch that is solved, and one that is
            written; the main process holds one shard.
    """

    header: Header
    shard_samples: int
    batch_samples: int
    file_bytes: int
    disk_bytes: int
    memory_bytes: int

    @property
    def samples(self) -> int:
        """Number of samples over all splits."""
        return self.header.samples

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.samples // self.shard_samples)

    def rows(self, shard: int) -> range:
        """Sample numbers of a shard."""
        first = shard * self.shard_samples
        return range(first, min(first + self.shard_samples, self.samples))


def plan(
    case: Case, seed: int = 0, samples: int | None = None, dtype: DType = "float32"
) -> Plan:
    """Work out what `generate` would make, solving nothing.

    Args:
        case: the problem.
        seed: sample i will use ``SeedSequence([seed, i])``.
        samples: total number, shared out over the splits as in the case; None for the
            case's own numbers.
        dtype: stored type.

    Raises:
        CaseError: no samples, a negative seed, or a case that does not fit its solver.
    """
    if seed < 0:
        raise CaseError(f"seed {seed}: choose zero or a positive integer")
    try:
        solver = case.build_solver()
        header = header_of(case, solver, seed, samples, dtype)
    except MemoryError:
        raise CaseError(
            f"case {case.name}: its axes alone do not fit into memory: "
            "choose a smaller resolution"
        ) from None
    per_sample = header.sample_nbytes
    if header.ragged:
        per_sample = _of_one(case, solver, header)
    points = max(per_sample // np.dtype(dtype).itemsize, 1)
    most = 1 if header.ragged else 32  # samples of several lengths are solved alone
    batch = int(np.clip(BATCH_POINTS // points, 1, most))
    most = min(header.samples // SHARDS, SHARD_BYTES // per_sample)
    shard = max(batch, most // batch * batch)
    file_bytes = header.samples * (per_sample + 64) + (64 << 10)
    return Plan(
        header=header,
        shard_samples=shard,
        batch_samples=batch,
        file_bytes=file_bytes,
        disk_bytes=2 * file_bytes,
        memory_bytes=(256 << 20) + 48 * batch * points,
    )


def _of_one(case: Case, solver: Solver, header: Header) -> int:
    """Return the bytes of the first sample with its mesh, for those of all."""
    inputs = draw(case, solver, header.seed or 0, 0, header.dtype, header.inputs)
    sizes = {"node": len(inputs[POINTS]), "cell": len(inputs[CELLS])}
    fields = [v for v in header.variables if not v.is_whole]
    item = np.dtype(header.dtype).itemsize
    total = sum(item * sizes[v.dims[0]] for v in fields)
    total += sum(np.asarray(inputs[name]).nbytes for name in MESH_ARRAYS)
    total += 12 * sizes["node"] + 4 * sizes["cell"]  # weights, and rows of samples
    return total + sum(v.nbytes for v in header.variables if v.is_whole)
