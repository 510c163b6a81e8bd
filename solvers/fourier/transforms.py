"""Planned real Fourier transforms on periodic grids.

    û_k = Σ_x u_x exp(-i k·x)          (forward, not normalised)
    u_x = N⁻¹ Σ_k û_k exp(+i k·x)      (inverse, N grid points)

numpy's half-plane layout: the last axis keeps wavenumbers 0..n/2. Whichever of pyfftw,
ducc0 and scipy is found first does the work; the torch backend is the GPU path.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np

from opkit.base.arrays import Array, Complex
from opkit.errors import OpkitInputError, require

Backend = Literal["auto", "pyfftw", "ducc0", "scipy", "torch"]


class _Plan(Protocol):
    """One backend: both directions, without normalisation."""

    def forward(self, u: Any, out: Any) -> Any: ...

    def inverse(self, u_hat: Any, out: Any) -> Any: ...


class RealFFT:
    """Real transforms over the last axes of arrays of one fixed shape, float64.

    Args:
        shape: grid points per axis, ``(n,)`` or ``(ny, nx)``; the last one even.
        batch: leading axes, transformed independently.
        backend: ``auto`` takes the first of pyfftw, ducc0, scipy that is installed.
        threads: threads inside one call (ducc0, scipy). Splitting a batch over
            Python threads, each with its own `RealFFT`, is usually faster.
        measure: let FFTW time its plans. Faster by up to a third, but two processes
            may then differ in the last bit; the default always plans alike.
        device: where the torch backend works; ``forward`` and ``inverse`` then take
            and return tensors.

    Raises:
        OpkitInputError: unusable shape or backend name.
        MissingExtraError: the backend asked for is not installed.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        batch: tuple[int, ...] = (),
        backend: Backend = "auto",
        threads: int = 1,
        measure: bool = False,
        device: str = "cpu",
    ) -> None:
        if len(shape) not in (1, 2) or min(shape) < 2 or shape[-1] % 2:
            raise OpkitInputError(
                f"grid {shape}: give one or two axes of 2 or more points, last even"
            )
        self.real_shape = (*batch, *shape)
        self.spectral_shape = (*batch, *shape[:-1], shape[-1] // 2 + 1)
        self.backend = available_backends()[0] if backend == "auto" else backend
        axes = tuple(range(-len(shape), 0))
        self._plan: _Plan
        if self.backend == "pyfftw":
            self._plan = _FFTW(self.real_shape, self.spectral_shape, axes, measure)
        elif self.backend == "ducc0":
            self._plan = _Ducc(shape[-1], axes, threads)
        elif self.backend == "scipy":
            self._plan = _Scipy(shape, axes, threads)
        elif self.backend == "torch":
            self._plan = _Torch(shape, axes)
        else:
            raise OpkitInputError(
                f"no FFT backend {backend!r}: use auto, pyfftw, ducc0, scipy or torch"
            )
        self._filled = 0 not in batch  # not every library transforms an empty batch
        self._device = device
        self._scale = 1.0 / math.prod(shape)

    def forward(self, u: Any, out: Any = None) -> Any:
        """Transform ``u`` (*batch, *shape), which is kept, to ``out``, in float64.

        Returns:
            ``out``, or a new array where none is given.
        """
        if out is None:
            out = self._empty(self.spectral_shape, complex_values=True)
        return self._plan.forward(u, out) if self._filled else out

    def inverse(self, u_hat: Any, out: Any = None, normalise: bool = True) -> Any:
        """Transform ``u_hat`` back. ``u_hat`` MAY BE DESTROYED: pass a copy to keep it.

        Imaginary parts that no real field has (zero and Nyquist modes) are ignored.

        Returns:
            ``out``, or a new array; the sum itself where ``normalise`` is off.
        """
        if out is None:
            out = self._empty(self.real_shape, complex_values=False)
        u = self._plan.inverse(u_hat, out) if self._filled else out
        if normalise:
            u *= self._scale
        return u

    def _empty(self, shape: tuple[int, ...], complex_values: bool) -> Any:
        if self.backend == "torch":
            torch = require("torch", "all")
            dtype = torch.complex128 if complex_values else torch.float64
            return torch.empty(shape, dtype=dtype, device=self._device)
        if complex_values:
            return np.empty(shape, np.complex128)
        return np.empty(shape)


def available_backends() -> list[str]:
    """Names of the numpy backends that are installed, fastest first."""
    names = {"pyfftw": "pyfftw", "ducc0": "ducc0", "scipy": "scipy.fft"}
    return [name for name, module in names.items() if _importable(module)]


def _importable(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


class _FFTW:
    """Plans hold for any C-ordered array of the shape on a 16-byte boundary."""

    def __init__(
        self,
        real: tuple[int, ...],
        spectral: tuple[int, ...],
        axes: tuple[int, ...],
        measure: bool,
    ) -> None:
        pyfftw = require("pyfftw", "fast")
        self._aligned = pyfftw.is_byte_aligned
        self._u = pyfftw.empty_aligned(real, dtype="float64", n=16)
        self._u_hat = pyfftw.empty_aligned(spectral, dtype="complex128", n=16)
        flag = "FFTW_MEASURE" if measure else "FFTW_ESTIMATE"
        self._forward = pyfftw.FFTW(self._u, self._u_hat, axes=axes, flags=(flag,))
        self._inverse = pyfftw.FFTW(
            self._u_hat,
            self._u,
            axes=axes,
            direction="FFTW_BACKWARD",
            flags=(flag, "FFTW_DESTROY_INPUT"),
        )

    def forward(self, u: Array, out: Complex) -> Any:
        return self._run(self._forward, self._usable(u, self._u), self._u_hat, out)

    def inverse(self, u_hat: Complex, out: Array) -> Any:
        return self._run(self._inverse, self._usable(u_hat, self._u_hat), self._u, out)

    def _usable(self, array: Any, own: Any) -> Any:
        if self._fits(array, own):
            return array
        np.copyto(own, array)
        return own

    def _run(self, plan: Any, source: Any, own: Any, out: Any) -> Any:
        target = out if self._fits(out, own) else own
        plan.update_arrays(source, target)
        plan.execute()
        if target is not out:
            np.copyto(out, target)
        return out

    def _fits(self, array: Any, own: Any) -> bool:
        return bool(
            array.dtype == own.dtype
            and array.shape == own.shape
            and array.strides == own.strides
            and self._aligned(array, n=16)
        )


class _Ducc:
    def __init__(self, last: int, axes: tuple[int, ...], threads: int) -> None:
        self._fft = require("ducc0", "fast").fft
        self._last, self._axes, self._threads = last, axes, threads

    def forward(self, u: Array, out: Complex) -> Complex:
        self._fft.r2c(
            np.asarray(u, np.float64), axes=self._axes, out=out, nthreads=self._threads
        )
        return out

    def inverse(self, u_hat: Complex, out: Array) -> Array:
        self._fft.c2r(
            np.asarray(u_hat, np.complex128),
            axes=self._axes,
            lastsize=self._last,
            forward=False,
            out=out,
            nthreads=self._threads,
        )
        return out


class _Scipy:
    def __init__(
        self, shape: tuple[int, ...], axes: tuple[int, ...], threads: int
    ) -> None:
        import scipy.fft

        self._fft = scipy.fft
        self._shape, self._axes, self._threads = shape, axes, threads

    def forward(self, u: Array, out: Complex) -> Complex:
        out[...] = self._fft.rfftn(
            np.asarray(u, np.float64), axes=self._axes, workers=self._threads
        )
        return out

    def inverse(self, u_hat: Complex, out: Array) -> Array:
        # norm="forward" leaves the inverse unscaled
        out[...] = self._fft.irfftn(
            np.asarray(u_hat, np.complex128),
            self._shape,
            self._axes,
            norm="forward",
            workers=self._threads,
        )
        return out


class _Torch:
    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
        self._fft = require("torch", "all").fft
        self._shape, self._axes = shape, axes

    def forward(self, u: Any, out: Any) -> Any:
        return self._fft.rfftn(u.double(), dim=self._axes, out=out)

    def inverse(self, u_hat: Any, out: Any) -> Any:
        return self._fft.irfftn(u_hat, self._shape, self._axes, norm="forward", out=out)
