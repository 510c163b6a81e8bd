"""Measurements on a GPU for which there is no other script.

    python -m benchmarks.gpu_measure doctor --device cuda --json FILE
    python -m benchmarks.gpu_measure kernels --device cuda --json FILE
    python -m benchmarks.gpu_measure solver darcy --device cuda --json FILE
    python -m benchmarks.gpu_measure latency graphs --device cuda --json FILE
    python -m benchmarks.gpu_measure problems --device cuda --json FILE

With ``--device cpu`` sizes are tiny: that is the rehearsal. FILE is written anew after
each row, so that what is stopped leaves what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import opkit
from opkit.kernels.spectral_conv import spectral_conv
from opkit.operators.fno.network import ChannelsLastFNO
from opkit.solvers.interface import with_parameters

Row = dict[str, Any]
SHAPES = {
    "cuda": [
        ((1023,), (65,)),
        ((64, 64), (24, 13)),
        ((85, 85), (24, 13)),
        ((128, 128), (32, 17)),
        ((421, 421), (24, 13)),
        ((256, 256), (64, 33)),
        ((64, 64, 64), (16, 16, 9)),
    ],
    "cpu": [((16,), (5,)), ((12, 13), (6, 4))],
}
BATCHES = {"cuda": (1, 4, 16, 64, 256, 1024, 4096), "cpu": (1, 4)}
FEW = {"cuda": (1, 64, 1024), "cpu": (2,)}
"""Of forms that are compiled for each batch, half a minute each."""


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(call: Callable[[], Any], device: str, repeats: int = 7) -> float:
    """Median seconds of a call, after two that are not counted."""
    call(), call()
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        begin = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def doctor(options: argparse.Namespace) -> Iterator[Row]:
    """What `opkit doctor` prints."""
    from opkit.cli.doctor import doctor as look

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        look(json=True)
    yield json.loads(text.getvalue())


def kernels(options: argparse.Namespace) -> Iterator[Row]:
    """Relative L2 of y, dx and dW from float64, by shape and precision."""
    on_gpu = options.device == "cuda"
    backend = "triton" if on_gpu else "cpu"
    for grid, modes in SHAPES[options.device]:
        torch.manual_seed(0)
        make = {"dtype": torch.float64, "device": options.device}
        x = torch.randn(3, 20, *grid, **make)  # type: ignore[call-overload]
        weight = torch.randn(*modes, 20, 2, 24, **make)  # type: ignore[call-overload]
        leaves = [x.requires_grad_(), weight.requires_grad_()]
        y = spectral_conv(*leaves, backend="reference")
        grad = torch.randn_like(y)
        truth = [y, *torch.autograd.grad(y, leaves, grad)]
        for precision in ("fp32", "tf32", "bf16") if on_gpu else ("fp32",):
            singles = [leaf.detach().float().requires_grad_() for leaf in leaves]
            y = spectral_conv(*singles, backend=backend, precision=precision)
            values = [y, *torch.autograd.grad(y, singles, grad.to(y.dtype))]
            errors = [
                float((a.detach().double() - b.detach()).norm() / b.detach().norm())
                for a, b in zip(values, truth, strict=True)
            ]
            again = spectral_conv(*singles, backend=backend, precision=precision)
            yield {
                "grid": grid,
                "modes": modes,
                "precision": precision,
                "backend": backend,
                "errors": dict(zip(("y", "dx", "dW"), errors, strict=True)),
                "repeats": bool(torch.equal(again, y)),
            }


SOLVERS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, ...]]] = {
    # parameters on a GPU, at tiny sizes, and batches on a GPU
    "darcy": ({"resolution": (421, 421)}, {"resolution": (17, 17)}, (1, 16, 128)),
    "navier-stokes": (
        {"resolution": (256, 256), "records": 2, "viscosity": 1e-5, "rtol": 1e-5},
        {"resolution": (16, 16), "records": 1},
        (1, 16, 64),
    ),
    "quasi-geostrophic": (
        {"resolution": (256, 256), "records": 1, "record_interval": 86400.0},
        {"resolution": (32, 32), "records": 1, "record_interval": 36000.0},
        (1, 16),
    ),
    "burgers": ({"resolution": (1024,), "records": 1}, {"resolution": (32,)}, (1, 64)),
}
"""Every solver that takes a device; tests/base/test_gpu_day.py compares the names."""
TORCH_ON_CPU = {
    "navier-stokes": {"backend": "torch"},
    "quasi-geostrophic": {"backend": "torch"},
}
"""What makes a solver run on the CPU what it runs on a GPU."""


def solver_inputs(name: str, solver: Any, count: int) -> dict[str, Any]:
    """Initial fields; of two layers smooth noise, which needs no spin-up."""
    rng = np.random.default_rng(0)
    if name != "quasi-geostrophic":
        drawn = [solver.sample(rng) for _ in range(min(count, 4))]
        keys = drawn[0]
        fields = {k: np.stack([d[k] for d in drawn]) for k in keys}
    else:
        n = solver.resolution[0]
        waves = np.zeros((min(count, 4), 2, n, n // 2 + 1), complex)
        waves[:, :, 1:5, 1:5] = rng.standard_normal((len(waves), 2, 4, 4))
        q = np.fft.irfft2(waves, s=solver.resolution)
        fields = {"initial_potential_vorticity": 1e-6 * q / q.std()}
    index = np.arange(count) % len(next(iter(fields.values())))
    return {k: v[index] for k, v in fields.items()}


def solver(options: argparse.Namespace) -> Iterator[Row]:
    """Seconds per sample on the CPU (one sample) and the device, and their distance."""
    name = options.name
    large, small, batches = SOLVERS[name]
    on_gpu = options.device == "cuda"
    cpu = with_parameters(
        opkit.load_case(name).build_solver(), **(large if on_gpu else small)
    )
    there = cpu
    if on_gpu:
        there = with_parameters(cpu, device="cuda")
    else:
        there = with_parameters(cpu, **TORCH_ON_CPU.get(name, {}))
    one = solver_inputs(name, cpu, 2)
    cpu.solve({k: v[:1] for k, v in one.items()})  # plans, compiled code
    begin = time.perf_counter()
    expected = cpu.solve(one).outputs
    cpu_seconds = (time.perf_counter() - begin) / 2
    found = there.solve(one).outputs
    distance = max(
        float(np.linalg.norm(found[k] - expected[k]) / np.linalg.norm(expected[k]))
        for k in expected
    )
    for batch in batches if on_gpu else (2,):
        inputs = solver_inputs(name, cpu, batch)
        there.solve(inputs)  # plans, compiled code
        begin = time.perf_counter()
        there.solve(inputs)
        seconds = time.perf_counter() - begin
        yield {
            "solver": name,
            "resolution": cpu.resolution,
            "batch": batch,
            "ms_per_sample": 1e3 * seconds / batch,
            "cpu_ms_per_sample": 1e3 * cpu_seconds,
            "distance": distance,
        }


def latency(options: argparse.Namespace) -> Iterator[Row]:
    """Milliseconds per call of an FNO (width 32, 24 modes, 4 layers), by batch."""
    device, n = options.device, options.points
    torch.manual_seed(0)
    sizes = {"n_modes": (24, 24), "hidden_channels": 32, "n_layers": 4}
    if device == "cpu":
        sizes = {"n_modes": (6, 6), "hidden_channels": 8, "n_layers": 1}
    model = ChannelsLastFNO(in_channels=1, out_channels=1, **sizes)  # type: ignore[arg-type]
    model = model.to(device).eval()
    with torch.no_grad():
        slow = options.name in ("compiled", "aoti")
        for batch in (FEW if slow else BATCHES)[device]:
            x = torch.randn(batch, 1, n, n, device=device)
            expected = model(x)
            begin = time.perf_counter()
            call = made(options.name, model, x)
            synchronise(device)
            prepared = time.perf_counter() - begin
            value = call()
            distance = float((value - expected).norm() / expected.norm())
            seconds = timed(call, device)
            yield {
                "form": options.name,
                "points": n,
                "batch": batch,
                "ms": 1e3 * seconds,
                "samples_per_second": batch / seconds,
                "prepared_s": prepared,
                "distance": distance,
            }


def made(form: str, model: Any, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The model under torch.compile, CUDA graphs or AOTInductor, for one shape."""
    if form == "compiled":
        torch.compiler.reset()
        compiled = torch.compile(model, dynamic=False)
        return lambda: compiled(x)
    if form == "graphs" and x.is_cuda:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                model(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = model(x)

        def replay() -> torch.Tensor:
            graph.replay()
            return y

        return replay
    if form == "aoti":
        folder = tempfile.mkdtemp(prefix="opkit-aoti-")
        program = torch.export.export(model, (x,))
        path = torch._inductor.aoti_compile_and_package(
            program, package_path=f"{folder}/model.pt2"
        )
        package = torch._inductor.aoti_load_package(path)
        return lambda: package(x)
    return lambda: model(x)


def problems(options: argparse.Namespace) -> Iterator[Row]:
    """Manufactured problems drawn per second, as HyPINO's training asks for them."""
    from opkit.solvers.manufactured.law import ManufacturedDistribution
    from opkit.solvers.manufactured.problems import draw_problems

    sizes = [(112, 128, (1024, 512)), (224, 32, (2048, 2048))]
    if options.device == "cpu":
        sizes = [(32, 4, (64, 32))]
    for n, batch, counts in sizes:
        for labelled in (True, False):
            generator = torch.Generator(options.device).manual_seed(0)
            law = ManufacturedDistribution()

            def draw(n: int = n, batch: int = batch, counts: Any = counts) -> None:
                draw_problems(batch, law, (n, n), counts, generator, labelled)  # noqa: B023

            rate = batch / timed(draw, options.device, 5)
            yield {"grid": n, "labelled": labelled, "per_second": rate}


COMMANDS = {
    "doctor": doctor,
    "kernels": kernels,
    "solver": solver,
    "latency": latency,
    "problems": problems,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("name", nargs="?", default="", help="solver or form")
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for row in COMMANDS[options.command](options):
        print(json.dumps(row), flush=True)
        rows.append(row)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
