"""How far elliptic-boundary's data are from the PDE: the same problem on finer cells.

    python -m benchmarks.elliptic_boundary_truth [--samples 20] [--factor 4]

Domain, source and boundary data are the same functions on both grids; the fine
solution is taken at the middles of the coarse cells.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from opkit.solvers.elliptic_boundary import EllipticBoundary
from opkit.solvers.elliptic_boundary.curve import trace
from opkit.solvers.elliptic_boundary.laws import CornerCuts

CELLS = 32


def fields(law: CornerCuts, seed: int, factor: int) -> dict[str, NDArray[np.float64]]:
    """Draw a sample for 32 x 32 cells, and evaluate it on finer ones."""
    rng, cells = np.random.default_rng(seed), CELLS * factor
    inside = law.draw_domain(rng, CELLS).repeat(factor, 0).repeat(factor, 1)
    s = (np.arange(4 * cells) + 0.5) / cells
    neumann = law.draw_kind(rng, s)
    centres = (np.arange(cells) + 0.5) / cells
    y, x = np.meshgrid(centres, centres, indexing="ij")
    source = law.source.on_square(rng, x, y) * inside
    g, q = law.dirichlet.on_curve(rng, s), law.neumann.on_curve(rng, s)
    if neumann.all():
        q += (source.mean() - q.mean() * 4) / 4
    sample = {
        "source": source,
        "inside": inside.astype(float),
        **trace(inside).places(cells),
        "boundary_value": np.where(neumann, q, g),
        "boundary_kind": neumann.astype(float),
    }
    return {name: np.asarray(values)[None] for name, values in sample.items()}


def error(law: CornerCuts, seed: int, factor: int) -> float:
    """Relative L2 difference, inside, of the coarse solution from the fine one."""
    coarse, fine = fields(law, seed, 1), fields(law, seed, factor)
    u, v = (
        EllipticBoundary(resolution=(n, n), distribution=law)
        .solve(f)
        .outputs["potential"][0]
        for n, f in ((CELLS, coarse), (CELLS * factor, fine))
    )
    blocks = v.reshape(CELLS, factor, CELLS, factor)
    middle = slice((factor - 1) // 2, factor // 2 + 1)
    v = blocks[:, middle, :, middle].mean((1, 3))
    inside = coarse["inside"][0] > 0
    u, v = u[inside], v[inside]
    if law.condition == "neumann":
        u, v = u - u.mean(), v - v.mean()
    return float(np.linalg.norm(u - v) / np.linalg.norm(v))


def main() -> None:
    """Print median, 5th and 95th percentile for each kind of boundary data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--factor", type=int, default=4)
    args = parser.parse_args()
    for condition in ("dirichlet", "neumann", "mixed"):
        law = CornerCuts.model_validate({"condition": condition})
        errors = [error(law, seed, args.factor) for seed in range(args.samples)]
        low, middle, high = 100 * np.quantile(errors, (0.05, 0.5, 0.95))
        print(f"{condition:10} {middle:.2f} % ({low:.2f} to {high:.2f} %)")


if __name__ == "__main__":
    main()
