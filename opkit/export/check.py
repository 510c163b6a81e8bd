"""Execute an exported file on real inputs beside the surrogate it came from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from opkit.export.report import Difference, compare
from opkit.export.samples import cycled
from opkit.export.targets import Run, silent
from opkit.surrogate import Surrogate


def check(
    surrogate: Surrogate, run: Run, samples: tuple[Tensor, ...], batch: int | None
) -> Difference:
    """Compare an export with its surrogate, sample by sample.

    Args:
        surrogate: where the export came from.
        run: the exported file, opened.
        samples: real inputs.
        batch: the one batch size the export takes; where None, one sample by itself
            and all the others together.
    """
    count = len(samples[0])
    sizes = (1, count - 1) if batch is None else (batch,) * -(-count // batch)
    sizes = tuple(size for size in sizes if size)
    inputs = cycled(samples, sum(sizes))
    parts = zip(*(torch.split(part, list(sizes)) for part in inputs), strict=True)
    with torch.no_grad(), silent():
        found = [
            run(tuple(p.to(surrogate.device) for p in part)).cpu() for part in parts
        ]
    once = tuple(part[:count] for part in inputs)  # a fixed batch repeats samples
    double = Surrogate(copy.deepcopy(surrogate.model).double(), surrogate.config)
    return compare(
        torch.cat(found)[:count],
        _predict(surrogate, once),
        _predict(double, tuple(part.double() for part in once)),
        surrogate.config,
        tuple(dict.fromkeys(sizes)),
    )


def _predict(surrogate: Surrogate, inputs: tuple[Tensor, ...]) -> Tensor:
    beside = inputs[1] if len(inputs) > 1 else None
    with torch.no_grad():
        outputs = surrogate.predict(inputs[0], 1, beside)
    return outputs[:, 0] if surrogate.model.history else outputs
