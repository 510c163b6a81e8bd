"""Seconds of a training step of BENO, forward and backward, on one graph after another.

    python -m benchmarks.beno_step [--reference FOLDER]

Rows: the published network (8.5 million parameters) here, the linear one here, and,
with ``--reference``, the authors' ``HeteroGNS`` from a clone of their repository
(github.com/AI4Science-WestlakeU/beno, needs torch_geometric) with the same features,
graph and weights; the largest difference of its answer is printed. Rows are measured
in turn, five times; medians. One thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.beno import data
from opkit.operators.beno.published_features import Graphs
from opkit.operators.beno.published_weights import load_published
from opkit.operators.interface import build_operator
from opkit.operators.layers.boundary_curve import CURVE, curve_of
from opkit.operators.shapes import DataShape

PUBLISHED = {
    "parity": True,
    "hidden_channels": 128,
    "n_layers": 10,
    "transformer_layers": 3,
    "n_heads": 2,
}
ROUNDS = 5


def step(run: Callable[[], Tensor], model: nn.Module) -> float:
    """Processor seconds of one forward and backward pass."""
    model.zero_grad()
    start = time.process_time()
    run().square().mean().backward()
    return time.process_time() - start


def reference(folder: Path, x: Tensor, boundary: Tensor, ours: Any) -> tuple[Any, Any]:
    """The authors' network and its input, made of our features; checks its answer."""
    sys.path.insert(0, str(folder))
    warnings.simplefilter("ignore")
    from BE_MPNN import HeteroGNS  # type: ignore[import-not-found]
    from torch_geometric.data import HeteroData  # type: ignore[import-not-found]

    model = HeteroGNS(10, 1, 7, nmlp_layers=3, activation=nn.SiLU).eval()
    load_published(ours, model.state_dict())
    source, inside = x.unbind(1)
    curve = curve_of(boundary, list(range(6)))
    graphs = Graphs.of(inside)
    nodes, edges, tokens = ours.scales.features(source, inside, curve, graphs)
    graph = HeteroData()
    keep = torch.ones(10)
    keep[2:6] = 0
    parts = {"G1": (nodes, tokens[0] * torch.tensor([1.0, 1.0, 0.0]))}
    parts["G2"] = (nodes * keep, tokens[0])
    for name, (features, curve_tokens) in parts.items():
        graph[name].x, graph[name].boundary = features, curve_tokens
        graph[name].edge_index = torch.stack([graphs.source, graphs.target])
        graph[name].edge_features = edges
    with torch.no_grad():
        theirs, mine = model(graph), ours.branches(nodes, edges, tokens, graphs)
    difference = (theirs - mine).abs().max() / theirs.abs().max()
    print(f"answer against the reference's: {difference:.1e} relative to its largest")
    return model, graph


def measure(cells: int, corners: int, folder: Path | None) -> None:
    """Print one table for graphs of one size."""
    many = data("elliptic-boundary", corners, range(8), cells)
    shape = DataShape(2, 1, (cells,) * 2, (False,) * 2, (1.0,) * 2, CURVE)
    x, boundary = many["inputs"][:1], many["boundary"][:1]
    torch.manual_seed(0)
    published = build_operator("beno", shape, PUBLISHED)
    linear = build_operator("beno", shape, {})
    rows: dict[str, tuple[Callable[[], Tensor], nn.Module, int]] = {}
    if folder is not None:
        net, graph = reference(folder, x, boundary, published.published)
        rows["published network, authors' code"] = (lambda: net(graph), net, 1)
    rows["published network, here"] = (lambda: published(x, boundary), published, 1)
    rows["linear network, here"] = (lambda: linear(x, boundary), linear, 1)
    whole = (many["inputs"], many["boundary"])
    rows["linear network, here, batch of 8"] = (lambda: linear(*whole), linear, 8)
    times: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(ROUNDS + 1):
        for name, (run, model, count) in rows.items():
            seconds = step(run, model) / count
            if turn:  # the first one fills caches
                times[name].append(seconds)
    print(f"\n{int(x[0, 1].sum())} nodes, {4 * cells} faces, seconds a graph:\n")
    print("| network | parameters | median | least | most |\n|---|---|---|---|---|")
    for name, (_, model, _) in rows.items():
        t, size = times[name], sum(p.numel() for p in model.parameters())
        print(
            f"| {name} | {size:,} | {statistics.median(t):.3f} | {min(t):.3f} "
            f"| {max(t):.3f} |"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, one thread")
    measure(32, 4, options.reference)
    measure(32, 0, options.reference)


if __name__ == "__main__":
    main()
