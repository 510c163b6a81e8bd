"""A training step of a whole FNO: neuraloperator 2.0.0's against ours.

    python benchmarks/fno_step.py                       # CPU, one thread
    python benchmarks/fno_step.py --rows 241 --threads 2
    python benchmarks/fno_step.py --device cuda --amp bf16

4 layers, width 32, 24 modes along each axis (12 of each sign), 2 to 1 channels, Adam.
Contenders take turns in one process, each with one step to settle the memory allocator
and then a timed one; medians of wall time, or with ``--clock processor`` of processor
time, which other programs disturb less. "conv only" is neuraloperator's FNO with our
`SpectralConv` as its ``conv_module``. All start from the same weights; printed beside
is the difference of the first outputs from neuraloperator's, with its placement of
modes at odd sizes, and what autograd keeps for the backward pass.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opkit.operators.fno.network import ChannelsLastFNO
from opkit.operators.layers.spectral_conv import SpectralConv
from opkit.train.loop.plan import saved_bytes

ROWS = {"64": (16, 64), "85": (16, 85), "241": (4, 241), "tiny": (2, 24)}
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
SIZES: dict[str, Any] = {
    "n_modes": (24, 24),
    "in_channels": 2,
    "out_channels": 1,
    "hidden_channels": 32,
}


def contenders(device: str, compat: str | None) -> dict[str, nn.Module]:
    import neuralop.models

    base = partial(neuralop.models.FNO, **SIZES, positional_embedding=None)
    theirs = base()
    state = {k: v for k, v in theirs.state_dict().items() if torch.is_tensor(v)}
    mixed = base(conv_module=partial(SpectralConv, compat=compat))
    ours = ChannelsLastFNO(**SIZES, compat=compat)
    for model in (mixed, ours):
        model.load_state_dict(dict(state))
    named = {"neuraloperator": theirs, "conv only": mixed, "opkit": ours}
    return {name: model.to(device) for name, model in named.items()}


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    batch, size = ROWS[name]
    torch.manual_seed(0)
    x = torch.randn(batch, 2, size, size, device=args.device)
    target = torch.randn(batch, 1, size, size, device=args.device)
    with torch.no_grad():
        first = {k: m(x) for k, m in contenders(args.device, "neuralop-2.0").items()}
    models = contenders(args.device, None)
    adams = {k: torch.optim.Adam(m.parameters(), lr=1e-3) for k, m in models.items()}

    amp, kind = args.amp != "none", AMP.get(args.amp, torch.bfloat16)
    # torch cannot unscale gradients of complex weights: neuraloperator's go unscaled
    scalers = {}
    for which, model in models.items():
        scaled = not any(p.is_complex() for p in model.parameters())
        enabled = args.amp == "fp16" and scaled
        scalers[which] = torch.amp.GradScaler(args.device, enabled=enabled)

    def step(which: str) -> None:
        with torch.autocast(args.device, kind, enabled=amp):
            loss = (models[which](x) - target).square().mean()
        adams[which].zero_grad()
        scalers[which].scale(loss).backward()
        scalers[which].step(adams[which])
        scalers[which].update()
        if args.device == "cuda":
            torch.cuda.synchronize()

    clock = time.process_time if args.clock == "processor" else time.perf_counter
    times: dict[str, list[float]] = {which: [] for which in models}
    for _ in range(args.repeats):
        for which in models:
            step(which)
            begin = clock()
            step(which)
            times[which].append(1e3 * (clock() - begin))
    base = statistics.median(times["neuraloperator"])
    truth = first["neuraloperator"]
    result: dict[str, Any] = {"batch": batch, "size": size, "amp": args.amp}
    result["contenders"] = {}
    print(
        f"\n{size}^2, batch {batch}\n  {'':16} step ms   ratio   difference   saved MB"
    )
    for which, values in times.items():
        median = statistics.median(values)
        difference = float((first[which] - truth).norm() / truth.norm())
        model = models[which]
        saved = (
            saved_bytes(lambda model=model: model(x), (x, *model.parameters())) / 1e6
        )
        entry = {
            "ms": median,
            "ratio": base / median,
            "difference": difference,
            "saved_mb": saved,
        }
        result["contenders"][which] = entry
        print(
            f"  {which:16} {median:7.1f} {base / median:7.2f} {difference:12.1e}"
            f"{saved:11.1f}"
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="64,85,241")
    parser.add_argument("--amp", default="none", choices=["none", *AMP])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    gpu = torch.cuda.get_device_name() if args.device == "cuda" else None
    where = {
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "clock": args.clock,
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "default"),
    }
    print(json.dumps(where))
    results = [measure(name, args) for name in args.rows.split(",")]
    if args.json:
        args.json.write_text(json.dumps({"machine": where, "rows": results}, indent=1))


if __name__ == "__main__":
    main()
