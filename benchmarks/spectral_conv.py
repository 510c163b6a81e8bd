"""Spectral convolution against neuraloperator 2.0.0 and a lean torch.fft layer.

    python benchmarks/spectral_conv.py                        # CPU, one thread
    python benchmarks/spectral_conv.py --rows 64,421 --threads 2
    python benchmarks/spectral_conv.py --device cuda --graphs # all rows on a GPU

Contenders take turns in one process, each with one call to settle the memory allocator
and then timed calls; the figures are medians of wall time, or with
``--clock processor`` of processor time, which other programs disturb less. Errors are
relative L2 distances from the same convolution in float64. "Saved" is what autograd
keeps for the backward pass besides the input and the parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from opkit.kernels.spectral_conv import choose_backend
from opkit.operators.layers.spectral_conv import SpectralConv, to_complex
from opkit.train.loop.plan import saved_bytes

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}


class Row(NamedTuple):
    """A problem size; half_modes is k in n_modes = (2 k, ...)."""

    batch: int
    channels: int
    size: int
    half_modes: int
    dims: int = 2

    @property
    def label(self) -> str:
        """Name of the row as printed."""
        return f"{self.batch},{self.channels},{self.size}^{self.dims},{self.half_modes}"


ROWS = {
    "64": Row(16, 32, 64, 12),
    "64c": Row(20, 20, 64, 12),
    "85": Row(16, 32, 85, 12),
    "128": Row(16, 32, 128, 16),
    "241": Row(4, 32, 241, 12),
    "421": Row(4, 32, 421, 12),
    "1d": Row(20, 64, 8192, 16, 1),
    "3d": Row(4, 32, 64, 8, 3),
    # larger fields, for a GPU
    "128g": Row(16, 64, 128, 16),
    "256g": Row(8, 64, 256, 32),
    "421g": Row(20, 32, 421, 12),
    "tiny": Row(2, 4, 16, 3),  # for a rehearsal
}
CPU_ROWS = [name for name in ROWS if not name.endswith("g") and name != "tiny"]


class Lean(nn.Module):
    """The spectral convolution by rfftn, products on the corners, and irfftn."""

    def __init__(self, weight: Tensor, half_modes: int, dims: int) -> None:
        super().__init__()
        self.half, self.dims = half_modes, dims
        shifted = weight.detach().clone()  # ascending wavenumbers on all but the last
        for axis in range(2, 1 + dims):
            shifted = torch.fft.ifftshift(shifted, dim=axis)
        self.weight = nn.Parameter(torch.view_as_real(shifted.contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the field x (batch, channel, *space)."""
        k, dims = self.half, tuple(range(2, x.ndim))
        weight = torch.view_as_complex(self.weight)
        spectrum = torch.fft.rfftn(x, dim=dims, norm="forward")
        out = spectrum.new_zeros(len(x), weight.shape[1], *spectrum.shape[2:])
        corners: list[tuple[slice, ...]] = [(slice(0, k + 1),)]
        for _ in range(self.dims - 1):
            corners = [
                (side, *corner)
                for side in (slice(0, k), slice(-k, None))
                for corner in corners
            ]
        for corner in corners:
            index = (..., *corner)
            out[index] = torch.einsum(
                "bi...,io...->bo...", spectrum[index], weight[index]
            )
        return torch.fft.irfftn(out, s=x.shape[2:], dim=dims, norm="forward")


def contenders(row: Row, device: str, compiled: bool) -> dict[str, nn.Module]:
    from neuralop.layers.spectral_convolution import SpectralConv as Theirs

    modes = (2 * row.half_modes,) * row.dims
    theirs = Theirs(row.channels, row.channels, modes, bias=False).to(device)
    ours = SpectralConv(row.channels, row.channels, modes, bias=False, device=device)
    ours.load_state_dict(theirs.state_dict())
    lean = Lean(theirs.weight.tensor, row.half_modes, row.dims)
    named: dict[str, nn.Module] = {"neuraloperator": theirs, "lean": lean}
    if compiled:
        named["lean compiled"] = torch.compile(lean)
    named["opkit"] = ours
    if compiled:
        named["opkit compiled"] = torch.compile(ours)
    variants: list[dict[str, Any]] = [{"recompute": True}]
    if device == "cuda":
        variants += [{"precision": "tf32"}, {"precision": "bf16"}]
    for options in variants:
        other = SpectralConv(
            row.channels, row.channels, modes, bias=False, device=device, **options
        )
        other.load_state_dict(ours.state_dict())
        named[f"opkit {options.get('precision', 'recompute')}"] = other
    return named


class Work(NamedTuple):
    """A contender's two timed calls."""

    name: str
    forward: Callable[[], Any]
    both: Callable[[], Any]


def work(name: str, layer: nn.Module, x: Tensor, grad: Tensor, device: str) -> Work:
    half = name.endswith("bf16")
    field = (x.bfloat16() if half else x).detach().requires_grad_()
    seed = grad.bfloat16() if half else grad
    leaves = [field, *layer.parameters()]

    def forward() -> Tensor:
        with torch.no_grad():
            result: Tensor = layer(field)
        return result

    def both() -> None:
        torch.autograd.grad(layer(field), leaves, seed)

    return Work(name, forward, both)


def graphed(call: Callable[[], Any]) -> Callable[[], Any]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def interleaved(
    calls: dict[str, Callable[[], Any]], repeats: int, device: str, clock: Clock
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    flush = (
        torch.empty(2**28, dtype=torch.int8, device=device)
        if device == "cuda"
        else None
    )
    for call in calls.values():
        call()
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            if flush is not None:
                flush.zero_()  # empties the L2 cache
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                start.record()
                call()
                end.record()
                torch.cuda.synchronize()
                times[name].append(start.elapsed_time(end))
            else:
                call()  # the allocator's steady state for this contender
                for _ in range(2):
                    begin = clock()
                    call()
                    times[name].append(1e3 * (clock() - begin))
    return times


def counted_bytes(row: Row, half: bool) -> dict[str, float]:
    """Bytes that fused kernels must move: R + R, spectra and weights.

    Forward 2 R + 4 K + W: the field is read, the result written, two spectra written
    and read. With the backward pass twice that, and once more the spectrum that was
    kept, 3 K, and the gradient of the weight, 2 W.
    """
    field = (2 if half else 4) * row.batch * row.channels * row.size**row.dims
    modes = (2 * row.half_modes) ** (row.dims - 1) * (row.half_modes + 1)
    spectrum = 8 * row.batch * row.channels * modes
    weight = 8 * row.channels**2 * modes
    forward = 2 * field + 4 * spectrum + weight
    return {"forward": forward, "both": 2 * forward + 3 * spectrum + weight}


def copy_rate(device: str) -> float:
    """GB/s of copying 1 GiB on the device (64 MiB on a CPU), read and write counted."""
    count = 2**30 if device == "cuda" else 2**26
    source = torch.zeros(count, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    times = interleaved(
        {"copy": lambda: target.copy_(source)}, 5, device, time.perf_counter
    )
    return 2 * count / statistics.median(times["copy"]) / 1e6


def errors(named: dict[str, nn.Module], row: Row, x: Tensor) -> dict[str, float]:
    ours = named["opkit"]
    assert isinstance(ours, SpectralConv)
    exact = Lean(to_complex(ours.weight.double(), row.dims), row.half_modes, row.dims)
    few = x[:1]
    with torch.no_grad():
        truth = exact.to(x.device)(few.double())
        result = {}
        for name, layer in named.items():
            field = few.bfloat16() if name.endswith("bf16") else few
            result[name] = float((layer(field).double() - truth).norm() / truth.norm())
    return result


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    row = ROWS[name]
    torch.manual_seed(0)
    shape = (row.batch, row.channels, *(row.size,) * row.dims)
    x, grad = (torch.randn(shape, device=args.device) for _ in range(2))
    named = contenders(row, args.device, args.compiled)
    works = [work(n, layer, x, grad, args.device) for n, layer in named.items()]
    result: dict[str, Any] = {"row": name, "label": row.label, "contenders": {}}
    result["copy_gb_s"] = rate = copy_rate(args.device)
    for kind in ("forward", "both"):
        calls = {w.name: getattr(w, kind) for w in works}
        times = interleaved(calls, args.repeats, args.device, CLOCKS[args.clock])
        for contender, values in times.items():
            entry = result["contenders"].setdefault(contender, {})
            entry[f"{kind}_ms"] = statistics.median(values)
            entry[f"{kind}_min_ms"] = min(values)
        if args.graphs and args.device == "cuda":
            calls = {n: graphed(c) for n, c in calls.items() if "compiled" not in n}
            times = interleaved(calls, args.repeats, args.device, CLOCKS[args.clock])
            for contender, values in times.items():
                entry = result["contenders"][contender]
                entry[f"{kind}_graph_ms"] = statistics.median(values)
    for contender, entry in result["contenders"].items():
        for kind, count in counted_bytes(row, contender.endswith("bf16")).items():
            best = entry.get(f"{kind}_graph_ms", entry[f"{kind}_ms"])
            entry[f"{kind}_share"] = count / best / 1e6 / rate
    field = x.detach().requires_grad_()
    for contender, error in errors(named, row, x).items():
        entry = result["contenders"][contender]
        entry["error"] = error
        if "compiled" not in contender and "bf16" not in contender:
            layer = named[contender]
            nbytes = saved_bytes(
                lambda layer=layer: layer(field), (field, *layer.parameters())
            )
            entry["saved_mb"] = nbytes / 1e6
    return result


def report(result: dict[str, Any]) -> None:
    base = result["contenders"]["neuraloperator"]
    print(f"\n{result['label']}")
    print(f"  {'':16} forward  fwd+bwd    ratio          error    saved MB")
    for name, entry in result["contenders"].items():
        ratios = [base[f"{k}_ms"] / entry[f"{k}_ms"] for k in ("forward", "both")]
        line = (
            f"  {name:16} {entry['forward_ms']:7.2f} {entry['both_ms']:8.2f} ms"
            f"  {ratios[0]:5.2f} {ratios[1]:5.2f}  {entry['error']:9.1e}"
        )
        if "saved_mb" in entry:
            line += f"  {entry['saved_mb']:8.1f}"
        if "forward_graph_ms" in entry:
            line += (
                f"  graphs {entry['forward_graph_ms']:.3f} "
                f"{entry['both_graph_ms']:.3f} ms"
            )
        print(line, flush=True)


def machine(args: argparse.Namespace) -> dict[str, Any]:
    import neuralop

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        cpu = lines[0].split(":")[1].strip() if lines else cpu
    gpu = torch.cuda.get_device_name() if args.device == "cuda" else None
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "THP_MEM_ALLOC_ENABLE")
    device = torch.device(args.device)
    choice = choose_backend(device, torch.float32, [24, 13], [64, 64], [64, 64])
    return {
        "cpu": cpu,
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "clock": args.clock,
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "neuraloperator": neuralop.__version__,
        "allocator": {name: os.environ.get(name, "default") for name in names},
        "backend": choice._asdict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", help=f"comma-separated, of {', '.join(ROWS)}")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--compiled", action="store_true", help="also torch.compile")
    parser.add_argument("--graphs", action="store_true", help="also CUDA graphs")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    every = [name for name in ROWS if name != "tiny"]
    default = every if args.device == "cuda" else CPU_ROWS
    names = args.rows.split(",") if args.rows else default
    where = machine(args)
    print(json.dumps(where))
    results = []
    for name in names:
        results.append(measure(name, args))
        report(results[-1])
    if args.json:
        args.json.write_text(json.dumps({"machine": where, "rows": results}, indent=1))


if __name__ == "__main__":
    main()
