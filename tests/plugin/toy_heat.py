"""A solver outside opkit, exact, that can be told to fail: u_t = nu lap u, periodic.

It comes in through the entry-point group opkit.solvers, as any user's would.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from opkit.errors import NotConvergedError
from opkit.solvers.inputs import checked_field
from opkit.solvers.interface import Coordinate, Fields, Solution, solver_dataclass

MARK = 1024.0  # amplitude of samples at which the fault strikes


@solver_dataclass
class ToyHeat:
    resolution: tuple[int, ...]
    viscosity: Annotated[float, Field(gt=0)] = 0.1
    times: int = 4
    fault: str = ""  # nan, refuse, die, exit-once, memory
    at: tuple[int, ...] = ()
    note: str = ""
    delay: float = 0.0

    def coordinates(self) -> Mapping[str, Coordinate]:
        points = {
            axis: Coordinate(np.arange(n) / n, "m", axis)
            for axis, n in zip("yx", self.resolution, strict=True)
        }
        return {"time": Coordinate(np.arange(1.0, self.times + 1), "s"), **points}

    def sample(self, rng: np.random.Generator) -> Fields:
        ny, nx = self.resolution
        y, x = np.meshgrid(np.arange(ny) / ny, np.arange(nx) / nx, indexing="ij")
        amplitude, phase = rng.normal(), rng.uniform(0, 1, 2)
        _, number = rng.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
        if number in self.at:
            amplitude = MARK
        wave = np.cos(2 * np.pi * (x + phase[0])) * np.cos(2 * np.pi * (y + phase[1]))
        return {"initial_temperature": amplitude * (1 + wave)}

    def solve(self, inputs: Fields) -> Solution:
        start = checked_field(inputs, "initial_temperature", self.resolution)
        time.sleep(self.delay * len(start))
        marked = np.abs(start).max(axis=(1, 2)) > MARK / 2
        out = np.stack([self._step(start, t) for t in range(1, self.times + 1)], 1)
        if marked.any():
            self._fail(out, marked)
        error = np.full(len(start), 1e-15)
        steps = np.full(len(start), float(self.times))
        return Solution({"temperature": out}, error, "relative error", {"steps": steps})

    def residual(self, inputs: Fields, outputs: Fields) -> np.ndarray[Any, Any]:
        start = np.asarray(inputs["initial_temperature"], np.float64)[:, None]
        states = np.concatenate(
            [start, np.asarray(outputs["temperature"], np.float64)], 1
        )
        change = self._step(states[:, :-1], 1) - states[:, 1:]
        scale = np.linalg.norm(states[:, 1:].reshape(len(start), -1), axis=1)
        return np.linalg.norm(change.reshape(len(start), -1), axis=1) / scale

    def _step(self, field: np.ndarray[Any, Any], steps: int) -> np.ndarray[Any, Any]:
        ny, nx = self.resolution
        k = 2 * np.pi * np.fft.fftfreq(ny, 1 / ny)[:, None]
        l = 2 * np.pi * np.fft.rfftfreq(nx, 1 / nx)[None]
        decay = np.exp(-self.viscosity * (k**2 + l**2) * steps * 0.1)
        return np.fft.irfft2(decay * np.fft.rfft2(field), s=self.resolution)

    def _fail(self, out: np.ndarray[Any, Any], marked: np.ndarray[Any, Any]) -> None:
        if self.fault == "nan":
            out[marked, -1, 0, 0] = np.nan
        elif self.fault == "refuse":
            raise NotConvergedError("told not to converge")
        elif self.fault == "die":
            os._exit(9)
        elif self.fault == "exit-once" and not Path(self.note).exists():
            Path(self.note).touch()
            os._exit(9)
        elif self.fault == "memory":
            raise MemoryError
        elif self.fault.startswith(("before-", "after-")) and not (
            Path(self.note).exists()
        ):
            strike_at(self.fault, Path(self.note))


def strike_at(point: str, note: Path) -> None:
    """Let this worker process kill itself at a point of writing its shard."""
    from opkit.base import files

    sync, replace = files.sync, os.replace

    def die() -> None:
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def struck_sync(path: Path) -> None:
        if point == "before-sync":
            die()
        sync(path)

    def struck_replace(old: Path, new: Path) -> None:
        if Path(new).suffix != ".h5":
            replace(old, new)
            return
        if point == "before-rename":
            die()
        replace(old, new)
        die()

    files.sync = struck_sync  # type: ignore[assignment]
    files.os.replace = struck_replace  # type: ignore[assignment]
