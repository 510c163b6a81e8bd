"""Small data files with a known map: band-limited a to u = (1 - Δ)⁻¹ a."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

h5py = pytest.importorskip("h5py")

from opkit import bundle  # noqa: E402
from opkit.datasets.header import Axis, Header, VariableSpec  # noqa: E402
from opkit.datasets.write import LIBVER, Writer  # noqa: E402
from opkit.rundir import RunDirectory  # noqa: E402


def write_file(path: Path, header: Header, fields: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        count = header.samples
        writer.put(slice(0, count), np.arange(count), fields)
        writer.finish()
    return path


def smooth(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Periodic fields of wavenumbers up to 3."""
    a_hat = np.zeros((count, n, n // 2 + 1), complex)
    draw = rng.normal(size=(2, count, 7, 4))
    block = draw[0] + 1j * draw[1]
    a_hat[:, :4, :4], a_hat[:, -3:, :4] = block[:, :4], block[:, 4:]
    return np.fft.irfft2(a_hat, s=(n, n)) * n * n / 10


def helmholtz(a: np.ndarray) -> np.ndarray:
    """Solve u - Δu = a on the periodic square of length 2π."""
    n = a.shape[-1]
    k, l = np.fft.fftfreq(n, 1 / n), np.fft.rfftfreq(n, 1 / n)
    symbol = 1 + k[:, None] ** 2 + l**2
    return np.fft.irfft2(np.fft.rfft2(a) / symbol, s=(n, n))


def splits(train: int, validation: int, test: int) -> dict[str, np.ndarray]:
    ends = np.cumsum([0, train, validation, test])
    names = ("train", "validation", "test")
    return {
        name: np.arange(a, b)
        for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)
        if b > a
    }


CASE = {
    "name": "helmholtz",
    "version": 1,
    "title": "Helmholtz on the torus",
    "equation": "u - Δu = a",
    "solver": {"target": "none:None"},
    "geometry": {
        "kind": "grid",
        "extent": {"y": [0, 6.283185307179586], "x": [0, 6.283185307179586]},
    },
    "resolution": 16,
    "boundary": {s: {"kind": "periodic"} for s in ("left", "right", "bottom", "top")},
    "inputs": [{"name": "forcing", "dims": ["y", "x"], "units": "1"}],
    "outputs": [{"name": "solution", "dims": ["y", "x"], "units": "1"}],
    "samples": {"train": 24},
    "recipes": {
        "fno": {
            "operator": "fno",
            "model": {"n_modes": [8, 8], "hidden_channels": 8, "n_layers": 2},
            "training": {"epochs": 4, "batch_size": 8, "learning_rate": 1e-2},
        }
    },
}


@pytest.fixture
def case() -> dict:
    return CASE


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., Path]:
    def make(
        name: str = "data.h5",
        n: int = 16,
        train: int = 24,
        validation: int = 8,
        test: int = 8,
        case: dict | None = CASE,
        edit: Callable[[np.ndarray, np.ndarray], None] | None = None,
        seed: int = 0,
    ) -> Path:
        count = train + validation + test
        a = smooth(np.random.default_rng(seed), count, n).astype(np.float32)
        u = (3 + 100 * helmholtz(a)).astype(np.float32)
        if edit is not None:
            edit(a, u)
        axis = Axis(np.arange(n) * 2 * np.pi / n)
        header = Header(
            case=case or {},
            variables=(
                VariableSpec("forcing", "input", ("y", "x"), (n, n)),
                VariableSpec("solution", "output", ("y", "x"), (n, n)),
            ),
            coordinates={"y": axis, "x": axis},
            splits=splits(train, validation, test),
        )
        return write_file(tmp_path / name, header, {"forcing": a, "solution": u})

    return make


@pytest.fixture
def make_trajectories(tmp_path: Path) -> Callable[..., Path]:
    """Travelling waves u(t + 1, x) = u(t, x - 2π/8), with a static field if asked."""

    def make(static: bool = False, frames: int = 6, n: int = 16) -> Path:
        count, rng = 40, np.random.default_rng(0)
        x = np.arange(n) * 2 * np.pi / n
        k = np.arange(1, 4)[:, None, None]
        phase = x - np.arange(frames)[:, None] * np.pi / 4
        c, s = rng.normal(size=(2, count, 3))
        waves = np.tensordot(c, np.cos(k * phase), 1)
        waves += np.tensordot(s, np.sin(k * phase), 1)
        u = (5 + 10 * waves).astype(np.float32)
        variables = [
            VariableSpec("initial_wave", "input", ("x",), (n,)),
            VariableSpec("wave", "output", ("time", "x"), (frames, n)),
        ]
        fields = {"initial_wave": u[:, 0], "wave": u}
        if static:
            variables.append(VariableSpec("speed", "input", ("x",), (n,)))
            fields["speed"] = rng.normal(size=(count, n)).astype(np.float32)
        header = Header(
            case={
                **CASE,
                "geometry": {"kind": "grid", "extent": {"x": [0, 2 * np.pi]}},
                "boundary": {s: {"kind": "periodic"} for s in ("left", "right")},
                "inputs": [{"name": "initial_wave", "dims": ["x"], "units": "1"}],
                "outputs": [{"name": "wave", "dims": ["time", "x"], "units": "1"}],
                "recipes": {},
            },
            variables=tuple(variables),
            coordinates={"x": Axis(x), "time": Axis(np.arange(frames) * 1.0)},
            splits=splits(28, 6, 6),
        )
        return write_file(tmp_path / "waves.h5", header, fields)

    return make


class Runs:
    """What two runs of the same training must share."""

    @staticmethod
    def tensors(run: Path) -> dict[str, torch.Tensor]:
        found = bundle.read(run)[1].items()
        return {k: v for k, v in found if not k.startswith("calibration.")}

    @staticmethod
    def columns(run: Path) -> list[tuple[float, ...]]:
        """metrics.csv without what depends on the clock."""
        names = ("epoch", "train_loss", "validation", "learning_rate")
        return [tuple(row[n] for n in names) for row in RunDirectory(run).metrics()]

    @classmethod
    def assert_equal(cls, a: Path, b: Path) -> None:
        assert cls.columns(a) == cls.columns(b)
        first, second = cls.tensors(a), cls.tensors(b)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def runs() -> type[Runs]:
    """Compare run directories."""
    return Runs
