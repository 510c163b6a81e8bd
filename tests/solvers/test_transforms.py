"""Real transforms: every backend against numpy, layouts, buffers, bad input."""

import numpy as np
import pytest

from opkit.errors import OpkitInputError
from opkit.solvers.fourier import transforms
from opkit.solvers.fourier.transforms import RealFFT, available_backends

BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name not in available_backends(), reason=f"{name} is not installed"
        ),
    )
    for name in ("pyfftw", "ducc0", "scipy")
]
SHAPES = [((16,), ()), ((10,), (3,)), ((6, 8), ()), ((5, 12), (2, 3)), ((64, 64), (2,))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("shape", "batch"), SHAPES)
def test_both_directions_against_numpy(
    backend: transforms.Backend, shape: tuple[int, ...], batch: tuple[int, ...]
) -> None:
    fft = RealFFT(shape, batch, backend)
    axes = tuple(range(-len(shape), 0))
    u = np.random.default_rng(0).standard_normal(fft.real_shape)
    expected = np.fft.rfftn(u, axes=axes)
    size = np.abs(expected).max()
    original = u.copy()
    u_hat = fft.forward(u)
    np.testing.assert_allclose(u_hat, expected, rtol=0, atol=4e-15 * size)
    assert (u == original).all(), "forward must keep its input"
    back = fft.inverse(u_hat.copy())
    np.testing.assert_allclose(back, u, rtol=0, atol=1e-14 * np.abs(u).max())
    out = np.empty(fft.real_shape)
    assert fft.inverse(u_hat.copy(), out, normalise=False) is out
    np.testing.assert_allclose(
        out, u * np.prod(shape), rtol=0, atol=4e-15 * u.size * np.abs(u).max()
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_layout_and_alignment(backend: transforms.Backend) -> None:
    fft = RealFFT((8, 8), (), backend)
    rng = np.random.default_rng(0)
    raw = rng.standard_normal(65)
    odd = raw[1:].reshape(8, 8)  # eight bytes past a boundary
    transposed = rng.standard_normal((8, 8)).T
    single = rng.standard_normal((8, 8)).astype(np.float32)
    for u in (odd, transposed, single):
        expected = np.fft.rfft2(u.astype(np.float64))
        np.testing.assert_allclose(
            fft.forward(u.astype(np.float64)), expected, rtol=0, atol=1e-13
        )
        np.testing.assert_allclose(fft.forward(u), expected, rtol=0, atol=1e-13)
    u_hat = np.fft.rfft2(odd)
    out = np.empty((8, 16))[:, ::2]
    np.testing.assert_allclose(fft.inverse(u_hat.copy(), out), odd, atol=1e-14)
    wide = np.zeros((8, 10), complex)
    fft.forward(odd, wide[:, :5])
    np.testing.assert_allclose(wide[:, :5], u_hat, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_do_not_share_memory(backend: transforms.Backend) -> None:
    fft = RealFFT((8, 8), (), backend)
    first = fft.forward(np.ones((8, 8)))
    second = fft.forward(np.zeros((8, 8)))
    assert first[0, 0] == 64
    assert second[0, 0] == 0


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    fft = RealFFT((8, 6), (2,), "torch")
    u = torch.rand(2, 8, 6, dtype=torch.float64)
    u_hat = fft.forward(u)
    np.testing.assert_allclose(u_hat.numpy(), np.fft.rfft2(u.numpy()), atol=1e-13)
    assert torch.allclose(fft.inverse(u_hat), u, rtol=0, atol=1e-15)


def test_plans_are_the_same_in_every_process() -> None:
    """Estimated, not timed, plans: the same bits from two objects."""
    u = np.random.default_rng(0).standard_normal((48, 48))
    one, two = (RealFFT((48, 48)).forward(u) for _ in range(2))
    assert (one == two).all()


def test_auto_takes_the_first_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RealFFT((8, 8)).backend == available_backends()[0]
    monkeypatch.setattr(transforms, "_importable", lambda module: module == "scipy.fft")
    assert RealFFT((8, 8)).backend == "scipy"


@pytest.mark.parametrize("shape", [(7,), (8, 7), (0,), (2, 2, 2), ()])
def test_unusable_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(OpkitInputError, match="grid"):
        RealFFT(shape)


def test_unknown_backend() -> None:
    with pytest.raises(OpkitInputError, match="use auto"):
        RealFFT((8, 8), backend="fftpack")  # type: ignore[arg-type]
