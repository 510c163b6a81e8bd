"""Devices, precision and processes of a training run, as a Fabric."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from opkit.errors import OpkitInputError, require
from opkit.recipe import Recipe
from opkit.train import sharding

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(recipe: Recipe, device: str) -> Fabric:
    """Set up devices; under torchrun, join the other processes.

    Args:
        recipe: precision and strategy.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        OpkitInputError: a device that is unknown or not there.
        MissingExtraError: lightning-fabric is not installed.
    """
    lightning_fabric = require("lightning_fabric", "train")
    if device not in ("auto", "cpu", "cuda"):
        raise OpkitInputError(f"device {device!r}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise OpkitInputError("no CUDA device found: use --device cpu")
    accelerator = device
    if device == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    precision = {"fp32": "32-true", "fp16-mixed": "16-mixed"}.get(
        recipe.training.precision, recipe.training.precision
    )
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    strategy: Any = recipe.training.strategy
    if strategy == "auto" or world == 1:
        strategy = "ddp" if world > 1 else "auto"
    elif strategy == "fsdp":
        strategy = sharding.strategy(world)
    fabric: Fabric = lightning_fabric.Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(world // local, 1),
        precision=precision,
        strategy=strategy,
    )
    if world > 1:
        fabric.launch()
    return fabric
