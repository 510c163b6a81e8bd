"""Errors of pod-gp on one output of a data file, as in the published tables on shapes.

    python -m benchmarks.shapes_tables DATA.h5 OUTPUT [--windows 1 8] [--train 1000]

learns the output alone from the numbers of the samples, on the first training samples,
and prints the mean relative L2 error on the test split, that of the mean of the
training outputs, that of the nearest field in the modes, the share of values within
1.96 of its own standard deviations, and the seconds of processor time of training. The
method draws nothing at random: another seed is another file (`opkit generate --seed`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from opkit.datasets.header import periodic_axes
from opkit.datasets.read import DataFile
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator
from opkit.operators.pod_gp.pod_gp import NORMAL, PODGP
from opkit.operators.shapes import DataShape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output")
    parser.add_argument("--windows", type=int, nargs="*", default=[])
    parser.add_argument("--modes", type=int, default=25)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--learning", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with DataFile(options.data) as file:
        names = [v.name for v in file.header.inputs if v.is_number]
        (spec,) = [v for v in file.header.outputs if v.name == options.output]
        closed = periodic_axes(file.header)
        rows = {split: file.indices(split) for split in ("train", "test")}
        rows["train"] = rows["train"][: options.train]
        numbers, fields = {}, {}
        for split, chosen in rows.items():
            parts = [file.read(name, chosen).reshape(len(chosen), -1) for name in names]
            numbers[split] = torch.from_numpy(np.concatenate(parts, 1)).double()
            read = file.read(options.output, chosen)
            fields[split] = torch.from_numpy(read)[:, None].double()
    periodic = tuple(dim in closed for dim in spec.dims)
    shape = tuple(fields["train"].shape[2:])
    data = DataShape(
        0, 1, shape, periodic, (1.0,) * len(shape), parameters=numbers["train"].shape[1]
    )
    model = build_operator(
        "pod-gp",
        data,
        dict(
            windows=options.windows,
            modes=options.modes,
            energy=0.99999,
            learning_samples=options.learning,
        ),
    )
    assert isinstance(model, PODGP)
    started = time.process_time()
    train = fields["train"]
    model.prepare({
        "inputs": train[:, :0], "outputs": train, "parameters": numbers["train"]
    })  # fmt: skip
    seconds = time.process_time() - started
    true = fields["test"]
    asked = Inputs(true[:, :0], parameters=numbers["test"])
    with torch.no_grad():
        u, std = model(asked), model.deviation(asked)
        best = model.projected(true)
    mean = train.mean(0, keepdim=True).expand_as(true)
    inside = ((u - true).abs() <= NORMAL * std + 1e-30).double().mean()
    print(
        f"{len(train)} training, {len(true)} test samples: error {error(u, true):.4f}, "
        f"mean {error(mean, true):.4f}, modes alone {error(best, true):.4f}, "
        f"within 95 %: {100 * float(inside):.1f} %, {seconds:.0f} s of processor time"
    )


def error(u: Tensor, true: Tensor) -> float:
    """Mean relative L2 error over samples."""
    return float(
        ((u - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1)).mean()
    )


if __name__ == "__main__":
    main()
