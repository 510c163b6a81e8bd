"""Same weights on finer and finer grids: to what does the answer of an operator tend?

    python -m benchmarks.consistency [--write docs/consistency.md]

An operator between functions gives answers that converge as the points of the same
input function are refined. Every operator is built with random weights, never trained,
in float64: what is measured is the discretisation alone. Inputs are trigonometric
polynomials with at most three waves along an axis. Errors are distances at the shared
points from the answer on the finest, relative to the fluctuations of that. The order is
that of the changes from each step to the next: 0 where an answer goes on changing.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opkit.operators import OPERATORS
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Operator, build_operator, operator_class
from opkit.operators.layers.grids import coordinates
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.fem.domains import Square

STEPS = (16, 32, 64, 128)
"""Steps along an axis; the last is what the others are compared with."""
LEAST = 0.8
"""Slope from which on the answer counts as converging."""
EXACT = 1e-7
"""Change below which answers count as the same: buffers may be of float32."""
OPTIONS: Mapping[str, dict[str, Any]] = {
    "fno": dict(n_modes=(6, 6), hidden_channels=16, n_layers=2),
    "elliptic-fno": dict(n_modes=(6, 6), hidden_channels=16, n_layers=2),
    "lsm": dict(hidden_channels=16, n_scales=3),
    "lsm-points": dict(
        hidden_channels=8, n_scales=3, n_modes=(4, 4), latent_shape=(12, 12)
    ),
    "mgno": dict(hidden_channels=16, n_layers=2, iterations=((1, 0), (1, 1), (2, 0))),
    "unet": dict(hidden_channels=16, n_scales=3),
    "spon": dict(hidden_channels=16, n_layers=2),
    "deeponet": dict(n_basis=16, branch_widths=(32,), trunk_widths=(32, 32)),
    "mionet": dict(n_basis=16, branch_widths=(32,), trunk_widths=(32, 32)),
    "pod-deeponet": dict(n_basis=8, branch_widths=(32,)),
    "pod-gp": dict(modes=8),
    "transolver": dict(hidden_channels=32, n_layers=2, n_heads=2, n_slices=16),
    "gno": dict(hidden_channels=8, n_layers=2, kernel_width=8, radius=0.1),
    "multipole-gno": dict(
        hidden_channels=8, n_layers=1, kernel_width=8, radius=0.1, cells=(8,), reach=2.5
    ),
    "lno": dict(hidden_channels=16, n_layers=2, kernel_width=16),
    "gino": dict(hidden_channels=8, n_layers=2, kernel_width=8, latent_shape=(12, 12)),
}
ON_MESHES: Mapping[str, dict[str, Any]] = {
    "gno": dict(radius=0.2),
    "multipole-gno": dict(radius=0.2),
}
"""Options on meshes, whose coarsest has half as many steps."""
WITHOUT = {
    "beno": "takes data on boundary curves, and keeps to its grid",
    "embedded": "takes data on boundary curves, and is the operator inside it",
}
"""Operators that are not measured, and why."""


@dataclass(frozen=True)
class Row:
    """What one operator does on one kind of points.

    Args:
        operator: its name, with an option where that matters.
        points: what is refined.
        errors: against the finest, coarsest first.
        changes: from each step to the next.
    """

    operator: str
    points: str
    errors: tuple[float, ...]
    changes: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Order in h, by least squares; infinite where the answers are the same."""
        if max(self.changes) < EXACT:
            return float("inf")
        level = np.arange(len(self.changes))
        logs = np.log2(np.maximum(self.changes, EXACT**2))
        return -float(np.polyfit(level, logs, 1)[0])

    @property
    def converges(self) -> bool:
        """Whether the answer tends to one operator's."""
        return self.slope >= LEAST

    def line(self) -> str:
        """Return a line of the table."""
        order = "exact" if np.isinf(self.slope) else f"{self.slope:.1f}"
        verdict = "converges" if self.converges else "**fails**"
        errors = " | ".join(f"{error:.1e}" for error in self.errors)
        return f"| `{self.operator}` | {self.points} | {errors} | {order} | {verdict} |"


def function(points: Tensor, seed: int = 0, samples: int = 2) -> Tensor:
    """The same random functions (sample, 1, *space) at any points (axis, *space)."""
    rng = np.random.default_rng(seed)
    waves = [
        k for k in itertools.product(range(-3, 4), repeat=2) if sum(map(abs, k)) < 4
    ]
    amplitude = rng.standard_normal((samples, 2, len(waves))) / len(waves) ** 0.5
    phase = 2 * torch.pi * torch.tensordot(torch.tensor(waves).double(), points, 1)
    a = torch.from_numpy(amplitude)
    field = torch.tensordot(a[:, 0], phase.cos(), 1)
    return (field + torch.tensordot(a[:, 1], phase.sin(), 1))[:, None]


def built(name: str, data: DataShape | MeshShape, **more: Any) -> Operator:
    """An operator with random weights, always the same."""
    torch.manual_seed(0)
    options = {k: v for k, v in OPTIONS.get(name, {}).items()} | more
    return build_operator(name, data, options).double().eval()


def on_grid(name: str, periodic: bool, steps: tuple[int, ...] = STEPS) -> Row:
    """Refine a grid of the unit square."""
    closed = (periodic, periodic)

    def grid(n: int) -> Tensor:
        shape = (n + (not periodic),) * 2
        return coordinates(shape, closed, torch.zeros((), dtype=torch.float64))

    shape = tuple(grid(steps[0]).shape[1:])
    model = built(name, DataShape(1, 1, shape, closed, (1.0, 1.0)))
    inputs = function(grid(steps[0]), 1, 20)
    model.prepare({"inputs": inputs, "outputs": inputs.square()})
    kind = "periodic grid" if periodic else "grid"
    return compared(
        name,
        kind,
        steps,
        lambda n: model(function(grid(n)))[..., :: n // steps[0], :: n // steps[0]],
    )


def on_points(
    name: str, crowded: bool, steps: tuple[int, ...] = STEPS, **more: Any
) -> Row:
    """Refine points in the unit square, evenly, or crowded at every other step.

    Crowded ones lie at (t², s), with weights 2 t dt ds. All share those at the ends.
    """

    def places(n: int, power: int) -> tuple[Tensor, Tensor]:
        t = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        x = t**power
        w, v = torch.zeros_like(x), torch.full_like(t, 1 / n)
        w[1:] += x.diff() / 2
        w[:-1] += x.diff() / 2
        v[[0, -1]] /= 2
        points = torch.stack(torch.meshgrid(x, t, indexing="ij")).flatten(1)
        return points, torch.outer(w, v).flatten()

    count = (steps[0] + 1) ** 2
    axes = 2 if operator_class(name).accepts.points else 0
    data = DataShape(1, 1, (count,), (False,), (1.0,), point_axes=axes)
    model = built(name, data, **more)

    def answer(n: int) -> Tensor:
        power = 2 if crowded and steps.index(n) % 2 else 1
        points, weights = places(n, power)
        fields = function(points)
        inputs = Inputs(
            fields,
            points=points.T.expand(len(fields), -1, -1),
            weights=weights.expand(len(fields), -1),
        )
        u = model(inputs).view(len(fields), n + 1, n + 1)
        step = n // steps[0]
        return u[:, [0, -1], ::step] if crowded else u[:, ::step, ::step]

    label = name + "".join(f" {k}: {str(v).lower()}" for k, v in more.items())
    kind = "points, crowded at every other step" if crowded else "points"
    return compared(label, kind, steps, answer)


def on_mesh(name: str, steps: tuple[int, ...] = (8, 16, 32, 64)) -> Row:
    """Refine triangles of the unit square."""

    def mesh(n: int) -> MeshShape:
        square = Square().mesh(n)
        free = np.zeros(len(square.points), bool)
        levels = [Square().mesh(m) for m in (n // 2, n // 4) if m > 1]
        return MeshShape(
            1,
            1,
            "node",
            square.points,
            square.cells,
            free,
            np.zeros((1, len(free))),
            tuple((m.points, m.cells) for m in levels),
        )

    first = mesh(steps[0])
    model = built(name, first, **ON_MESHES.get(name, {}))
    inputs = function(torch.from_numpy(first.points.T), 1, 20)
    model.prepare({"inputs": inputs, "outputs": inputs.square()})

    def answer(n: int) -> Tensor:
        data = mesh(n)
        u = model.on(data).double()(function(torch.from_numpy(data.points.T)))
        place = {tuple(p): k for k, p in enumerate(data.points.round(9))}
        return u[..., [place[tuple(p)] for p in first.points.round(9)]]

    return compared(name, "mesh", steps, answer)


def compared(
    name: str, kind: str, steps: tuple[int, ...], answer: Callable[[int], Tensor]
) -> Row:
    """Measure answers at the points that all have."""
    with torch.no_grad():
        answers = [answer(n).double() for n in steps]
    finest = answers[-1]
    size = (finest - finest.mean()).norm()
    return Row(
        name,
        kind,
        tuple(float((u - finest).norm() / size) for u in answers[:-1]),
        tuple(float((u - v).norm() / size) for u, v in itertools.pairwise(answers)),
    )


def table() -> list[Row]:
    """Measure every operator that is not in `WITHOUT`."""
    rows = []
    for name in OPERATORS:
        if name in WITHOUT:
            continue
        accepts = operator_class(name).accepts
        if "grid" in accepts.geometries:
            rows += [
                on_grid(name, p) for p in (False, True) if accepts.periodic or not p
            ]
        if name == "lsm-points" or accepts.points:
            rows += [on_points(name, crowded) for crowded in (False, True)]
        if name in ("transolver", "gno"):
            rows.append(on_points(name, True, weights=False))
        if name == "spon" or accepts.ragged:
            rows.append(on_mesh(name))
    return rows


def page(rows: list[Row]) -> str:
    """Return the document."""
    failing = sorted({r.operator for r in rows if not r.converges})
    lines = [
        "# Does the answer converge as points are refined?",
        "",
        "Written by `python -m benchmarks.consistency --write docs/consistency.md`.",
        "",
        " ".join(__doc__.split("\n\n", 2)[2].split()),
        "Grids and points have 17, 33 and 65 along an axis, the finest 129; meshes 8, "
        '16 and 32 squares, cut in two, the finest 64. "Fails" is an order below '
        f"{LEAST}. What fails can be used on the grid that it was trained on; "
        "`opkit evaluate` measures it on others. Large errors on coarse grids say the "
        "same: `lsm`, `mgno` and `unet` have stencils that are counted in points, and "
        "what they tend to sees less and less around each point.",
        "",
        "| operator | points | coarse | middle | fine | order | |",
        "|---|---|---|---|---|---|---|",
        *(row.line() for row in rows),
        "",
        f"Failing: {', '.join(f'`{name}`' for name in failing) or 'none'}.",
        "",
        "Not measured: "
        + "; ".join(f"`{name}` {why}" for name, why in WITHOUT.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = page(table())
    if options.write:
        options.write.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
