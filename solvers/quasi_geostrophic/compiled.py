"""One quasi-geostrophic trajectory with the compiled passes of `qg_kernels`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array, Complex
from opkit.solvers.fourier.fftw import plan
from opkit.solvers.quasi_geostrophic.kernels import (
    STREAMS,
    Passes,
    adams_bashforth,
    measure,
    prime,
    relative_defect,
    runge_kutta,
)
from opkit.solvers.quasi_geostrophic.model import LANES, Model
from opkit.solvers.quasi_geostrophic.team import can_meet, counters
from opkit.solvers.steppers import ETDRK4

_SPARE = 4  # columns; the first one stands for k = -0
_LINES = 8  # grid lines transformed at a time
_COLUMNS = 11  # columns transformed at a time, at most
_WEIGHTS = 16  # which stream of a tile holds the filter, or ETDRK4's first weight


class CompiledState:
    """A trajectory: state, past slopes, work space. Serves one caller at a time.

    Args:
        model: the equations, on a grid that `model.fits_lanes`.
        threads: that step it together; results are the same, bit for bit.
    """

    def __init__(self, model: Model, threads: int = 1) -> None:
        self._model = model
        threads = threads if can_meet() else 1
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        ny, nx = model.parameters.shape
        self._tiles = _aligned((nx // 2 + 1, ny // LANES, STREAMS * LANES))
        self._write(12, model.diagonal)
        self._write(13, model.mixed)
        # Dropped modes have no waves; real fields no derivative at Nyquist.
        k, l = model.k * model.mask, model.l * model.mask
        k[:, -1] = 0.0
        l[ny // 2, [0, -1]] = 0.0
        self._write(14, k)
        self._write(15, l)
        self._team = self._prepare(threads)
        self._dt = 0.0
        self._steps = 0

    def start(self, q_hat: Complex) -> None:
        """Set the state (1, layer, ny, nk), and forget past slopes."""
        for layer, values in enumerate(q_hat[0] * self._model.mask):
            self._write(2 * layer, values.real)
            self._write(2 * layer + 1, values.imag)
        self._tiles[:, :, 4 * LANES : 12 * LANES] = 0.0
        self._steps = 0
        self._together(prime)

    @property
    def q_hat(self) -> Complex:
        """A copy of the state (1, layer, ny, nk)."""
        layers = range(self._model.parameters.layers)
        return np.stack(
            [self._read(2 * i) + 1j * self._read(2 * i + 1) for i in layers]
        )[None]

    def adams_bashforth(self, dt: float, count: int) -> Array:
        """Take third-order steps of dt, each followed by the filter.

        Returns:
            (1,) relative difference of the third- and second-order next step.
        """
        self._write(_WEIGHTS, np.exp(self._model.log_filter))
        for done in range(self._steps, self._steps + count):
            repeats = self._steps + count - done if done >= 2 else 1
            self._together(adams_bashforth, repeats, _ab(dt, min(done, 2)))
            if done >= 2:
                break
        self._steps += count
        # 5/12 dt (N - 2 N' + N''), of this slope and of what is due from past ones
        self._together(measure, (5 * dt / 12, 1.0, 1.2, 0))
        return np.array([relative_defect(self._team[0])])

    def runge_kutta(self, dt: float, count: int, log_decay: Array) -> Array:
        """Take steps of ETDRK4 with decay rates ``log_decay`` (ny, nk), 1/s, ≤ 0.

        Returns:
            (count, 1) relative local errors.
        """
        if dt != self._dt:
            z = dt * log_decay
            rows, weights = ETDRK4.weights(z)
            for i, w in enumerate((rows[0][0], weights[1], weights[3])):
                self._write(_WEIGHTS + 1 + i, dt * w)
            self._write(_WEIGHTS, np.exp(z / 2))
            self._dt = dt
        errors = np.empty(count)
        self._together(runge_kutta, errors)
        return errors[:, None]

    def _together(self, function: Any, *arguments: Any) -> None:
        first, *others = self._team
        if self._pool is None:
            function(first, *arguments)
            return
        waiting = [self._pool.submit(function, p, *arguments) for p in others]
        function(first, *arguments)
        for other in waiting:
            other.result()

    def _write(self, stream: int, values: NDArray[Any]) -> None:
        self._stream(stream)[:] = values.T.reshape(*self._tiles.shape[:2], LANES)

    def _read(self, stream: int) -> Array:
        return np.array(self._stream(stream).reshape(len(self._tiles), -1).T)

    def _stream(self, stream: int) -> Array:
        return np.asarray(self._tiles[:, :, stream * LANES : (stream + 1) * LANES])

    def _prepare(self, threads: int) -> list[Passes]:
        model, p = self._model, self._model.parameters
        ny, nx = p.shape
        pad, modes = nx + _SPARE, nx // 2 + 1
        # An even number of blocks, so that two threads have equal work.
        blocks = 2 * -(-modes // (2 * _COLUMNS))
        block = -(-modes // blocks)
        blocks = -(-modes // block)
        last = modes - block * (blocks - 1)
        drag = (0.0, p.drag) if p.layers == 2 else (p.drag, 0.0)
        gradient, mean = np.zeros((2, 2))
        gradient[: p.layers] = model.gradient[:, 0, 0]
        mean[: p.layers] = p.velocity
        constants = (*model.stretching, *gradient, *drag, 1 / (ny * nx))
        by_columns = [((1, ny), (pad, 1), sign) for sign in (1, -1)]
        by_columns += [((pad, 1), (1, ny), sign) for sign in (-1, 1)]
        shared: dict[str, Any] = {
            "grid": _aligned((3, ny, 2 * pad)).view(np.complex128),
            "tiles": self._tiles,
            "sums": np.zeros((blocks, 2)),
            "constants": np.array(constants),
            "mean": mean,
            "layers": p.layers,
            "row_plans": (
                plan(nx, _LINES, (1, pad), (1, nx), 1),
                plan(nx, _LINES, (1, nx), (1, pad), -1),
            ),
            "column_plans": tuple(
                tuple(plan(ny, width, *layout) for layout in by_columns)
                for width in (block, last)
            ),
            "arrivals": counters(threads),
        }
        return [
            Passes(
                rows=_aligned((3, _LINES, 2 * nx)).view(np.complex128),
                columns=_aligned((3, 2, block, 2 * ny)).view(np.complex128),
                slopes=_aligned((4 * LANES,)),
                me=member,
                **shared,
            )
            for member in range(threads)
        ]


def _ab(dt: float, done: int) -> tuple[float, float, float]:
    """Weights of a slope in its own step and the next two, after ``done`` steps."""
    return (
        (dt, 1.5 * dt, 23 * dt / 12)[done],
        -dt / 2 if done == 0 else -4 * dt / 3,
        5 * dt / 12,
    )


def _aligned(shape: tuple[int, ...]) -> Any:
    """Zeros that begin on a cache line."""
    size = int(np.prod(shape))
    raw = np.zeros(size + 8)
    start = -raw.ctypes.data // 8 % 8
    return raw[start : start + size].reshape(shape)
