"""Training of HyPINO on an endless stream of problems, in slices that resume exactly.

The problems of step k depend on (seed, k) alone, and the learning rate on k alone, so a
checkpoint is the weights, AdamW's moments and the step number: one safetensors file.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opkit.errors import BundleError, NonFiniteError, require
from opkit.operators.hypino import HyPINO, HyPINOOptions
from opkit.operators.hypino_loss import target_loss
from opkit.operators.hypino_target import Target
from opkit.operators.interface import Options
from opkit.problems import Problems
from opkit.solvers.manufactured_distribution import ManufacturedDistribution
from opkit.solvers.manufactured_problems import concatenate, draw_problems

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
Count = Annotated[int, Field(ge=1)]
Progress = Callable[[dict[str, float]], None]


class StreamTraining(Options):
    """How to train; defaults are the published ones.

    Args:
        steps: optimiser steps of the whole run.
        batch: problems a step.
        points: interior points a problem.
        boundary_points: and on its boundary.
        learning_rate: highest, after the warm-up of 1 %; then a cosine to 1/1000.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        unlabelled: share of problems without a label, from `unlabelled_from` on.
        unlabelled_from: fraction of the run that is labelled only.
        block: steps whose problems are drawn together; a speed matter alone.
        distribution: law of the problems.
        seed: of weights and problems.
        compile: fuse the loss with torch.compile (needs a C++ compiler).
    """

    steps: Count = 100_000
    batch: Annotated[int, Field(ge=2)] = 128
    points: Count = 2048
    boundary_points: Count = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Annotated[float, Field(gt=0)] = 1.0
    unlabelled: Annotated[float, Field(ge=0, lt=1)] = 0.5
    unlabelled_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    block: Count = 1
    distribution: ManufacturedDistribution = ManufacturedDistribution()
    seed: Annotated[int, Field(ge=0)] = 0
    compile: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warm = max(self.steps // 100, 1)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        share = (step - warm) / max(self.steps - warm, 1)
        return self.learning_rate * (
            0.001 + 0.999 * (1 + math.cos(math.pi * share)) / 2
        )


def stream(
    training: StreamTraining, resolution: int, block: int, device: torch.device
) -> list[Problems]:
    """Problems of the steps block · training.block and following, in order."""
    words = np.random.SeedSequence([training.seed, block]).generate_state(2, np.uint32)
    generator = torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]))
    first = block * training.block
    late = first >= training.unlabelled_from * training.steps
    free = round(training.batch * training.unlabelled) if late else 0
    parts = [
        draw_problems(
            count * training.block,
            training.distribution,
            (resolution, resolution),
            (training.points, training.boundary_points),
            generator,
            labelled=labelled,
        )
        for count, labelled in ((training.batch - free, True), (free, False))
        if count
    ]
    return [
        concatenate([part.select(slice(k, None, training.block)) for part in parts])
        for k in range(training.block)
    ]


def train_hypino(
    options: HyPINOOptions,
    training: StreamTraining,
    out: Path,
    stop_after: float = math.inf,
    accelerator: str = "auto",
    progress: Progress | None = None,
) -> HyPINO:
    """Train, or go on training, until the last step or for `stop_after` seconds.

    Args:
        options: architecture.
        training: schedule and problems.
        out: run directory; a checkpoint there is resumed from.
        stop_after: seconds after which a checkpoint is written and the slice ends.
        accelerator: as Lightning Fabric names it: cpu, cuda, auto.
        progress: called with each line of the log.

    Returns:
        The model as it stands.

    Raises:
        BundleError: the checkpoint is damaged or of another run.
        NonFiniteError: the loss is not finite; the last checkpoint stays.
        MissingExtraError: lightning-fabric is not installed.
    """
    fabric = require("lightning_fabric", "train").Fabric(
        accelerator=accelerator, devices=1
    )
    torch.manual_seed(training.seed)
    plain = HyPINO(options)
    model, optimiser = fabric.setup(
        plain,
        torch.optim.AdamW(
            [p for p in plain.parameters() if p.requires_grad],
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
        ),
    )
    out.mkdir(parents=True, exist_ok=True)
    recipe: dict[str, object] = {
        "model": options.model_dump(),
        "training": training.model_dump(),
    }
    step = _resume(out / CHECKPOINT, plain, optimiser, recipe)
    loss = torch.compile(target_loss) if training.compile else target_loss
    started = time.monotonic()
    problems: list[Problems] = []
    while step < training.steps:
        block, place = divmod(step, training.block)
        if place == 0 or not problems:
            problems = stream(training, options.resolution, block, fabric.device)
        for group in optimiser.param_groups:
            group["lr"] = training.rate(step)
        batch = problems[place]
        tensors = model(batch.coefficients, batch.grids)
        terms = loss(Target.from_tensors(tensors), batch)
        optimiser.zero_grad()
        fabric.backward(terms["loss"])
        norm = fabric.clip_gradients(model, optimiser, max_norm=training.clip)
        if not bool(norm.isfinite()):
            raise NonFiniteError(
                f"loss {float(terms['loss'].detach()):.3g} at step {step}: lower the "
                "learning rate; the last checkpoint is kept"
            )
        optimiser.step()
        step += 1
        slice_ends = time.monotonic() - started > stop_after
        if step % 100 == 0 or step == training.steps or slice_ends:
            line = {name: float(term.detach()) for name, term in terms.items()}
            _log(out / LOG, {"step": step, "rate": training.rate(step - 1), **line})
            if progress is not None:
                progress({"step": step, **line})
        if step % 1000 == 0 or step == training.steps or slice_ends:
            _save(out / CHECKPOINT, plain, optimiser, recipe, step)
        if slice_ends:
            break
    return plain


def _log(path: Path, line: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _moments(model: HyPINO, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimiser.state
    return {
        f"{kind}.{name}": state[parameter][kind]
        for name, parameter in model.named_parameters()
        if parameter in state
        for kind in ("exp_avg", "exp_avg_sq", "step")
    }


def _save(
    path: Path,
    model: HyPINO,
    optimiser: torch.optim.Optimizer,
    recipe: dict[str, object],
    step: int,
) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= _moments(model, optimiser)
    partial = path.with_suffix(".partial")
    metadata = {"step": str(step), "recipe": json.dumps(recipe)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata)
    os.replace(partial, path)


def _resume(
    path: Path,
    model: HyPINO,
    optimiser: torch.optim.Optimizer,
    recipe: dict[str, object],
) -> int:
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        step = int(metadata["step"])
        found = json.loads(metadata["recipe"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BundleError(
            f"{path}: not a checkpoint of this program ({error})"
        ) from None
    if found != json.loads(json.dumps(recipe)):
        raise BundleError(
            f"{path} belongs to a run with other options: choose another directory"
        )
    model.load_state_dict(
        {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
    )
    for name, parameter in model.named_parameters():
        if f"step.{name}" in tensors:
            optimiser.state[parameter] = {
                kind: tensors[f"{kind}.{name}"].to(
                    "cpu" if kind == "step" else parameter.device
                )
                for kind in ("exp_avg", "exp_avg_sq", "step")
            }
    return step
