"""Darcy flow over the numbers of a Karhunen-Loève expansion."""

import numpy as np
import pytest

from opkit.errors import OpkitInputError
from opkit.solvers.darcy import Darcy
from opkit.solvers.darcy.parametric import ParametricDarcy
from opkit.solvers.laws.cosine_fields import cosine_field, shell_order


def test_all_terms_are_the_gaussian_field_itself() -> None:
    """The expansion with all modes of a 14 x 14 grid is `cosine_field`, to rounding."""
    n = 14
    count = n * n - 1
    solver = ParametricDarcy(resolution=(n, n), terms=count, scale=1.0)
    xi = np.random.default_rng(5).standard_normal(count)
    k_y, k_x = shell_order(n)
    size = k_y**2 + k_x**2.0
    # modes beyond the grid's belong to larger shells, so both orders name the same set
    wide = shell_order(int(np.ceil(np.sqrt(count))) + 2)
    order = np.argsort(np.pi**2 * (wide[0] ** 2 + wide[1] ** 2.0), kind="stable")
    pairs = [(int(wide[0][i]), int(wide[1][i])) for i in order[:count]]
    own = {(int(a), int(b)): x for a, b, x in zip(k_y, k_x, xi, strict=True)}
    inside = np.array([own.get(pair, 0.0) for pair in pairs])
    present = {pair for pair in pairs if pair in own}
    log_a = np.log(solver.permeability({"coefficients": inside[None]})[0])
    dropped = np.array([(a, b) not in present for a, b in zip(k_y, k_x, strict=True)])
    xi_kept = np.where(dropped, 0.0, xi)

    class Fixed:
        def standard_normal(self, size: int) -> np.ndarray:
            return xi_kept

    field = cosine_field(Fixed(), (n, n), 2.0, 3.0)  # type: ignore[arg-type]
    assert size.size == count
    np.testing.assert_allclose(log_a, field, rtol=0, atol=1e-12 * np.abs(field).max())


def test_the_pressure_is_that_of_its_permeability() -> None:
    """Bit for bit the solution of `Darcy`."""
    solver = ParametricDarcy(resolution=(33, 33))
    c = np.random.default_rng(0).standard_normal((2, 10))
    mine = solver.solve({"coefficients": c})
    a = solver.permeability({"coefficients": c})
    exact = Darcy(resolution=(33, 33)).solve({"permeability": a})
    assert np.array_equal(mine.outputs["pressure"], exact.outputs["pressure"])
    assert solver.residual({"coefficients": c}, mine.outputs).max() <= 1e-8
    again = solver.solve_from({"coefficients": c}, mine.outputs)
    assert (again.details["iterations"] <= 1).all()


def test_the_variance_of_the_field_is_that_of_its_terms() -> None:
    """Mean over the square of Var log a = s² Σ λ_k, for modes orthonormal there."""
    solver = ParametricDarcy(resolution=(129, 129), scale=2.0)
    unit = np.eye(10)
    fields = np.log(solver.permeability({"coefficients": unit}))
    w = np.ones(129)
    w[[0, -1]] = 0.5
    weights = np.outer(w, w) / 128**2
    gram = np.einsum("iyx,jyx,yx->ij", fields, fields, weights)
    size = np.sort([k * k + m * m for k in range(9) for m in range(9) if k + m])[:10]
    lam = 3.0**2 * (np.pi**2 * size + 9) ** -2.0
    # the trapezoidal rule is exact for products of these cosines
    np.testing.assert_allclose(gram, np.diag(4 * lam), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("c", "words"),
    [
        (np.zeros((1, 9)), r"give \(batch, 10\)"),
        (np.full((1, 10), np.nan), "of sample 0 is not finite"),
        (np.full((1, 10), 1e6), "give smaller numbers"),
    ],
)
def test_numbers_that_cannot_be(c: np.ndarray, words: str) -> None:
    """Another count, NaN, overflow."""
    with pytest.raises(OpkitInputError, match=words):
        ParametricDarcy(resolution=(17, 17)).solve({"coefficients": c})
