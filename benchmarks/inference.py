"""A Darcy surrogate against the solver coarsened to its accuracy: latency, throughput.

    OMP_NUM_THREADS=1 python benchmarks/inference.py RUN [--device cuda]

The surrogate runs as it is loaded, under torch.compile, and as exported files, which
are made in RUN/inference where they are missing (some minutes; repeat the command when
the machine is quiet). The solver gets every grid that divides the data's and several
tolerances; what is timed is the fastest combination whose solution, interpolated
linearly to the surrogate's grid, is at least as accurate there as the surrogate: both
against the data, solved on the full grid, over the same test samples. Every round times
all of them once, in turn; the table shows medians. On a machine that others use take
``--clock processor`` with one thread: seconds of the processor, not of the wall.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import opkit
from opkit.case.record import parse_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import OpkitError
from opkit.export import TARGETS, export
from opkit.operators.layers.grids import interpolation_matrix
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.surrogate.surrogate import Surrogate

Method = Callable[[Any], Any]
Clock = Callable[[], float]
TOLERANCES = (1e-8, 1e-2, 3e-2)


class Classical:
    """The Darcy solver on every ``factor``-th node, interpolated to a grid."""

    def __init__(self, solver: Any, factor: int, rtol: float, points: int) -> None:
        steps = solver.resolution[0] - 1
        n = steps // factor + 1
        self.name = f"solver {n}x{n}, rtol {rtol:g}"
        self.factor = factor
        self.solver = replace(solver, resolution=(n, n), rtol=rtol)
        self.matrix = interpolation_matrix(n, points, False).numpy()

    def __call__(self, permeability: np.ndarray) -> np.ndarray:
        """Map (batch, y, x) on the data's grid to pressure on the surrogate's."""
        coarse = permeability[:, :: self.factor, :: self.factor]
        pressure = self.solver.solve({"permeability": coarse}).outputs["pressure"]
        return self.matrix @ pressure @ self.matrix.T


def relative_l2(fields: np.ndarray, truth: np.ndarray) -> float:
    gap = np.linalg.norm((fields - truth).reshape(len(truth), -1), axis=1)
    return float((gap / np.linalg.norm(truth.reshape(len(truth), -1), axis=1)).mean())


def fields(run: Path, surrogate: Surrogate) -> tuple[Any, np.ndarray, np.ndarray]:
    """The solver of the data, permeability on its grid, pressure on the surrogate's."""
    path = Path(str(RunDirectory(run).config()["data"]))
    samples = FieldDataset(path, "test")
    case = parse_case(samples.header.case, str(path))
    items = [samples[i] for i in range(len(samples))]
    stride = surrogate.config.recipe.subsample
    fine = np.stack([item["inputs"][0].numpy() for item in items]).astype(np.float64)
    truth = np.stack([item["outputs"][0, ::stride, ::stride].numpy() for item in items])
    return case.build_solver(), fine, truth


def coarsened(
    solver: Any, fine: np.ndarray, truth: np.ndarray, most: float, clock: Clock
) -> tuple[Classical, float]:
    """The fastest of the solver's settings with at most this error."""
    steps = fine.shape[1] - 1
    methods: list[tuple[float, float, Classical]] = []
    names = " | ".join(f"rtol {r:g}: relative L2 | ms/sample" for r in TOLERANCES)
    print(f"| solver on | {names} |" + "\n|---" + "|---" * 2 * len(TOLERANCES) + "|")
    for factor in (f for f in range(1, steps // 8 + 1) if steps % f == 0):
        count = len(fine) if factor > 3 else 20
        cells, best = [], np.inf
        for rtol in TOLERANCES:
            method = Classical(solver, factor, rtol, truth.shape[1])
            method(fine[:2])  # compiled code
            start = clock()
            error = relative_l2(method(fine[:count]), truth[:count])
            seconds = (clock() - start) / count
            cells.append(f"{error:.2e} | {1e3 * seconds:.2f}")
            best = min(best, error)
            if error <= most:
                methods.append((seconds, error, method))
        print(f"| {steps // factor + 1}² |", " | ".join(cells), "|")
        if best > 1.5 * most:
            break
    _, error, method = min(methods, key=lambda row: row[0])
    return method, error


def surrogates(run: Path, surrogate: Surrogate, device: str) -> dict[str, Method]:
    """The surrogate in all its forms: tensors to tensors on the device."""
    model = surrogate.model
    forms: dict[str, Method] = {"opkit.load, predict": surrogate.predict}
    forms["eager"] = model
    if device == "cuda":
        graphed = torch.compile(model, mode="reduce-overhead")
        forms["torch.compile, CUDA graphs"] = lambda x: graphed(x).clone()
    forms["torch.compile"] = torch.compile(model, dynamic=False)
    folder = run / "inference"
    folder.mkdir(exist_ok=True)
    for to, kind in TARGETS.items():
        if device not in kind.devices:
            continue
        path = folder / f"{device}-{kind.default}"
        if not path.exists():
            export(run, to, path, device=device, verdict=False)
        opened = kind.open(path, "model")
        forms[to] = lambda x, opened=opened: opened((x,))[0]
    return forms


def timed(method: Method, x: Any, clock: Clock) -> float:
    start = clock()
    method(x)
    return clock() - start


def device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    methods: dict[str, Method], inputs: dict[str, Any], rounds: int, clock: Clock
) -> dict[str, float]:
    """Median seconds of a call, all methods in turn, repeated to 20 ms or more."""
    repeats = {}
    for name, method in methods.items():
        for _ in range(3):
            seconds = timed(method, inputs[name], clock)
        repeats[name] = min(int(0.02 / max(seconds, 1e-6)) + 1, 50)
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            calls = [timed(method, inputs[name], clock) for _ in range(repeats[name])]
            spent[name].append(statistics.median(calls))
    return {name: statistics.median(values) for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    options = parser.parse_args()
    device = options.device
    clock = {"wall": time.perf_counter, "processor": time.process_time}[options.clock]
    if device == "cuda":
        clock = device_clock
    if device == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    surrogate = opkit.load(options.run, device)
    solver, fine, truth = fields(options.run, surrogate)
    if device == "cuda":
        solver = replace(solver, device="cuda")
    stride = surrogate.config.recipe.subsample
    whole = torch.from_numpy(fine[:, None, ::stride, ::stride]).float().to(device)

    with torch.no_grad():
        forms = surrogates(options.run, surrogate, device)
        errors = {
            name: relative_l2(form(whole)[:, 0].cpu().numpy(), truth)
            for name, form in forms.items()
        }
        classical, error = coarsened(solver, fine, truth, errors["eager"], clock)
        methods: dict[str, Method] = {**forms, classical.name: classical}
        errors[classical.name] = error
        seconds = {}
        for batch in options.batches:
            index = np.arange(batch) % len(fine)
            inputs: dict[str, Any] = dict.fromkeys(forms, whole[index].contiguous())
            inputs[classical.name] = fine[index]
            seconds[batch] = measure(methods, inputs, options.rounds, clock)

    columns = [f"batch {b}: ms a call | samples/s" for b in options.batches]
    print(
        f"\n| {truth.shape[1]}x{truth.shape[2]} | relative L2 |",
        " | ".join(columns),
        "|",
    )
    print("|---" * (2 + 2 * len(columns)) + "|")
    for name in methods:
        cells = [
            f"{1e3 * seconds[b][name]:.2f} | {b / seconds[b][name]:.0f}"
            for b in options.batches
        ]
        print(f"| {name} | {errors[name]:.2e} |", " | ".join(cells), "|")
    where = f"{torch.get_num_threads()} thread(s), {options.clock} clock, "
    where += f"load {os.getloadavg()[0]:.1f}"
    if device == "cuda":
        where = torch.cuda.get_device_name()
    print(f"\n{where}; torch {torch.__version__}; {options.rounds} rounds")


if __name__ == "__main__":
    try:
        main()
    except OpkitError as error:
        raise SystemExit(f"Error: {error}") from None
