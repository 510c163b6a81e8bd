"""A bound of the network's error that counts how close its operator is to singular.

Let r = f - L u be what the network lacks of an elliptic equation, and w what has the
missing boundary data and M w = 0 for M = L - (c_0 - m) without zero-order term (with
m = -c_3 where u is given nowhere, so that M has an inverse). The error e of u solves
L e = r with these data, so L (e - w) = r - (c_0 - m) w with homogeneous ones, and

    ‖e‖ ≤ ‖w‖ + (‖r‖ + |c_0 - m| ‖w‖) / σ

in the root mean square, σ the least singular value of L. w is solved by elements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opkit.base.arrays import Array
from opkit.hypino.written import Written
from opkit.pde.problem import LinearProblem
from opkit.solvers.linear_pde.finite_elements import Formulas, discretise

CELLS = 16


@dataclass(frozen=True)
class _Missing:
    """Boundary data less those of a network, and no source."""

    problem: LinearProblem
    written: Written

    def source(self, x: Array, y: Array) -> Array:
        return np.zeros_like(x)

    def boundary(self, part: str, x: Array, y: Array, n_x: Array, n_y: Array) -> Array:
        prescribed = Formulas(self.problem).boundary(part, x, y, n_x, n_y)
        jet = self.written.jet(x.ravel(), y.ravel()).reshape(5, *x.shape)
        if self.problem.conditions()[part][0][0] == "u":
            return np.asarray(prescribed - jet[0])
        return np.asarray(prescribed - jet[1] * n_x - jet[2] * n_y)


def error_bound(
    problem: LinearProblem, written: Written, singular: float, residual: Array
) -> float:
    """Bound of the root mean square error of a network's answer.

    Args:
        problem: elliptic.
        written: the answer.
        singular: σ, the least singular value of L.
        residual: r at points that sample the domain, (point,).

    Raises:
        MeshError: the domain cannot be meshed.
    """
    c = problem.linear.coefficients
    kinds = [kind for part in problem.conditions().values() for kind, _ in part]
    shift = 0.0 if "u" in kinds else -c[3]
    terms = zip(("u", "u_x", "u_y", "u_xx", "u_yy"), (shift, *c[1:]), strict=True)
    lifting = problem.model_copy(
        update={
            "equation": " + ".join(f"({value!r})*{name}" for name, value in terms)
            + " = 0",
            "source": None,
        }
    )
    discrete = discretise(lifting, CELLS, _Missing(problem, written))
    w, _ = discrete.solve()
    area = float(discrete.mass.sum())
    size = float(np.sqrt(w @ (discrete.mass @ w) / area))
    rest = float(np.sqrt(np.mean(residual**2)))
    return size + (rest + abs(c[0] - shift) * size) / max(singular, 1e-300)
