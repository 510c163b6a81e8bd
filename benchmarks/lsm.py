"""LSM against the authors' code: time of a step and of a prediction, same weights.

    python -m benchmarks.lsm CHECKOUT [--device cuda]

CHECKOUT is a clone of thuml/Latent-Spectral-Models. Both models run alternately in this
process; the medians are over all rounds but the first.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from opkit.operators.lsm.lsm import LSM
from opkit.operators.lsm.published_weights import load_reference
from opkit.operators.shapes import DataShape

SIZES = ((85, 64, 4), (64, 64, 4), (43, 32, 8), (17, 32, 16))  # n, width, batch


class _WithoutCuda(TorchFunctionMode):
    """The authors' constructors call ``.cuda()``; here tensors stay where they are."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        same_place = function is torch.Tensor.cuda
        return args[0] if same_place else function(*args, **(kwargs or {}))


def reference(n: int, width: int) -> nn.Module:
    """Build the authors' model for an n x n grid."""
    patch = -(-n // 16)
    padding = 16 * patch - n
    arguments = SimpleNamespace(
        in_dim=1,
        out_dim=1,
        d_model=width,
        num_token=4,
        num_basis=12,
        patch_size=f"{patch},{patch}",
        padding=f"{padding},{padding}",
    )
    with _WithoutCuda():
        model: nn.Module = importlib.import_module("models.LSM_2D").Model(arguments)
    return model


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(n: int, width: int, batch: int, rounds: int, device: str) -> str:
    """Return one line of the table."""
    theirs = reference(n, width)
    data = DataShape(1, 1, (n, n), (False, False), (1.0, 1.0))
    ours = LSM(data, LSM.Options(hidden_channels=width))
    load_reference(ours, theirs.state_dict())
    ours.to(device), theirs.to(device)
    for module in theirs.modules():
        if hasattr(module, "modes_list"):  # not a buffer: .to() leaves it behind
            module.modes_list = module.modes_list.to(device)
    x = torch.randn(batch, 1, n, n, device=device)
    last = x.movedim(1, -1).contiguous()

    def predict(model: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            u: Tensor = model.eval()(x)
        return u

    def step(model: nn.Module, x: Tensor) -> None:
        model.train().zero_grad()
        model(x).square().mean().backward()

    a, b = predict(ours, x), predict(theirs, last).movedim(-1, 1)
    difference = ((a - b).abs().max() / b.abs().max()).item()
    texts = []
    for work in (predict, step):
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            times[0].append(timed(partial(work, ours, x), device))
            times[1].append(timed(partial(work, theirs, last), device))
        mine, other = (statistics.median(values[1:]) for values in times)
        texts.append(f"{mine:9.3f}{other:9.3f}{other / mine:7.2f}")
    return f"{n:4}{width:6}{batch:6}  {''.join(texts)}  {difference:.1e}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.checkout)
    torch.manual_seed(0)
    print(
        f"{arguments.device}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}; seconds"
    )
    print("   n width batch   predict   theirs  ratio     step   theirs  ratio  differ")
    for n, width, batch in SIZES:
        print(compare(n, width, batch, arguments.rounds, arguments.device), flush=True)


if __name__ == "__main__":
    main()
