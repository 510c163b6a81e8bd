"""Darcy flow: symmetries of the square, scaling, linearity, batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opkit.solvers.darcy.solver import Darcy
from opkit.solvers.laws.permeability import LogNormal, TwoPhase

SYMMETRIES = {
    "quarter turn": np.rot90,
    "half turn": lambda field: np.rot90(field, 2),
    "three quarter turn": lambda field: np.rot90(field, 3),
    "left-right": np.fliplr,
    "up-down": np.flipud,
    "diagonal": np.transpose,
    "other diagonal": lambda field: np.rot90(field, 2).T,
}
RTOL = 1e-10


def draw(seed: int, n: int, high: float = 12.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return TwoPhase(low=high / 4, high=high).draw(rng, (n, n))


def solve(permeability: np.ndarray, **parameters: object) -> np.ndarray:
    solver = Darcy(resolution=permeability.shape, rtol=RTOL, **parameters)
    return solver.solve({"permeability": permeability[None]}).outputs["pressure"][0]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(5, 40),
    name=st.sampled_from(sorted(SYMMETRIES)),
    faces=st.sampled_from(["harmonic", "fno"]),
)
def test_symmetries_of_the_square(seed: int, n: int, name: str, faces: str) -> None:
    move = SYMMETRIES[name]
    a = draw(seed, n)
    # Both solutions are within √4 RTOL of the scheme's; 100 covers the L2 norm.
    moved = solve(np.ascontiguousarray(move(a)), faces=faces)
    assert distance(moved, move(solve(a, faces=faces))) < 100 * RTOL


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    exponent=st.integers(-300, 300),
    forcing=st.floats(-1e3, 1e3).filter(lambda f: abs(f) > 1e-3),
)
def test_scaling_of_permeability_and_forcing(
    seed: int, exponent: int, forcing: float
) -> None:
    a = draw(seed, 17)
    reference = solve(a)
    # A power of two changes no digit of any intermediate number: equal bit for bit.
    scaled = solve(a * 2.0**exponent)
    assert np.array_equal(scaled, reference * 2.0**-exponent)
    assert distance(solve(a, forcing=forcing), forcing * reference) < 100 * RTOL


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(5, 30))
def test_pressure_is_positive_and_falls_as_permeability_grows(
    seed: int, n: int
) -> None:
    """Maximum principle, and monotonicity of the mean pressure (an energy) in a."""
    a = draw(seed, n)
    p = solve(a)
    assert (p[1:-1, 1:-1] > 0).all()
    assert (p[[0, -1]] == 0).all()
    assert (p[:, [0, -1]] == 0).all()
    more = np.where(np.random.default_rng(seed).random(a.shape) < 0.3, 2 * a, a)
    assert solve(more).sum() <= p.sum() * (1 + 100 * RTOL)


@pytest.mark.parametrize("n", [20, 70])
@pytest.mark.parametrize("preconditioner", ["sine", "auto"])
def test_a_sample_does_not_depend_on_its_batch(n: int, preconditioner: str) -> None:
    """Samples that need few and many iterations, alone and together, bit for bit."""
    rough = 10.0 ** np.random.default_rng(3).uniform(-1, 1, (n, n))
    batch = np.stack([np.ones((n, n)), draw(1, n), rough, draw(2, n)])
    solver = Darcy(resolution=(n, n), preconditioner=preconditioner)
    together = solver.solve({"permeability": batch})
    assert len(set(together.details["iterations"])) > 1
    for i, a in enumerate(batch):
        alone = solver.solve({"permeability": a[None]})
        assert np.array_equal(
            alone.outputs["pressure"][0], together.outputs["pressure"][i]
        )
        assert alone.error[0] == together.error[i]
    order = [2, 0, 3, 1]
    shuffled = solver.solve({"permeability": batch[order]})
    assert np.array_equal(
        shuffled.outputs["pressure"], together.outputs["pressure"][order]
    )


def test_published_subsampling() -> None:
    """421 nodes hold 211, 141, 85, 61 and 43 by strides 2, 3, 5, 7 and 10."""
    full = Darcy(resolution=(421, 421), distribution=LogNormal(scale=2.0))
    a = full.sample(np.random.default_rng(5))["permeability"][None]
    p = full.solve({"permeability": a}).outputs["pressure"]
    errors = []
    for stride, nodes in {2: 211, 3: 141, 5: 85, 7: 61, 10: 43}.items():
        some = Darcy(resolution=(nodes, nodes))
        for axis in ("y", "x"):
            assert some.coordinates()[axis].values == pytest.approx(
                full.coordinates()[axis].values[::stride], abs=1e-15
            )
        coarse = some.solve({"permeability": a[:, ::stride, ::stride]})
        errors.append(distance(coarse.outputs["pressure"], p[:, ::stride, ::stride]))
    # Second order where a is smooth: between strides 5 and 10 a factor near 4.
    assert errors == sorted(errors)
    assert errors[-1] / errors[2] == pytest.approx(4, rel=0.25)


def test_residual_in_torch_is_the_solvers_with_right_gradients():
    torch = pytest.importorskip("torch")
    solver = Darcy(resolution=(12, 17))
    rng = np.random.default_rng(3)
    a = np.stack([solver.sample(rng)["permeability"] for _ in range(2)])
    p = rng.standard_normal(a.shape) * 0.01
    tensors = [torch.from_numpy(v).requires_grad_() for v in (a, p)]

    def residual(a, p):
        return solver.torch_residual({"permeability": a}, {"pressure": p})

    expected = solver.residual({"permeability": a}, {"pressure": p})
    np.testing.assert_allclose(residual(*tensors).detach(), expected, rtol=1e-12)
    # central differences of a smooth function, step 1e-6: 1e-7 with room for rounding
    assert torch.autograd.gradcheck(residual, tensors, eps=1e-6, atol=1e-6, rtol=1e-5)
