"""A batch of linear second-order PDEs on the square, as tensors.

    c_0 u + c_1 u_x + c_2 u_y + c_3 u_xx + c_4 u_yy = f   in [-1, 1]² less holes,
    u = g on Dirichlet parts,   ∇u · n = h on Neumann parts, n pointing outwards.

In time-dependent problems y is time: y = -1 the initial line, y = +1 the final one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor

CHANNELS = (
    "dirichlet_mask",
    "neumann_mask",
    "dirichlet_values",
    "neumann_values",
    "source",
)
UNIT = 4.0  # size of L on the smoothest functions, in a problem of unit size


@dataclass(frozen=True)
class Problems:
    """What a network reads of each problem, and the points where it is judged.

    Args:
        coefficients: (batch, 5), of u, u_x, u_y, u_xx, u_yy.
        grids: (batch, 5, y, x), the fields of `CHANNELS`; values are 0 off the masks.
        inside: (batch, y, x), whether a grid point lies in the domain.
        points: (batch, point, 2), drawn from the square.
        weights: (batch, point), 1 at points in the domain, 0 in holes.
        source: (batch, point), f at the points.
        solution: jets (5, batch, point) of u at the points; 0 where not labelled.
        solution_grid: (batch, y, x), u on the grid; 0 where not labelled.
        labelled: (batch,), whether the solution is known.
        boundary_points: (batch, side point, 2).
        normals: (batch, side point, 2), unit and outward.
        dirichlet: (batch, side point), 1 where u is given.
        neumann: (batch, side point), 1 where ∇u · n is given.
        dirichlet_values: (batch, side point), g, and 0 elsewhere.
        neumann_values: (batch, side point), h, and 0 elsewhere.
    """

    coefficients: Tensor
    grids: Tensor
    inside: Tensor
    points: Tensor
    weights: Tensor
    source: Tensor
    solution: Tensor
    solution_grid: Tensor
    labelled: Tensor
    boundary_points: Tensor
    normals: Tensor
    dirichlet: Tensor
    neumann: Tensor
    dirichlet_values: Tensor
    neumann_values: Tensor

    def __len__(self) -> int:
        """Return the number of problems."""
        return len(self.coefficients)

    def to(self, *args: object, **kwargs: object) -> Problems:
        """Move or convert every tensor as `torch.Tensor.to` does."""
        return Problems(
            **{f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)}
        )

    def select(self, rows: Tensor | slice) -> Problems:
        """Return the problems of these rows."""
        return Problems(
            **{
                f.name: getattr(self, f.name)[:, rows]
                if f.name == "solution"
                else getattr(self, f.name)[rows]
                for f in fields(self)
            }
        )
