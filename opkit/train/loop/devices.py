"""Devices, precision and processes of a training run, as a Fabric.

Fully sharded training spreads weights, gradients and optimiser state over processes.
The whole model is one group (FSDP2, Zhao et al. 2023, arXiv:2304.11277): gathered for a
step, so that any operator works unchanged; between steps each process holds its share.
Checkpoints and bundles hold full tensors, the same for any number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from opkit.case.recipe import Recipe
from opkit.errors import OpkitInputError, require

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    from torch.distributed.device_mesh import DeviceMesh


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
    world, local = launched()
    strategy: Any = recipe.training.strategy
    if strategy == "auto" or world == 1:
        strategy = "ddp" if world > 1 else "auto"
    elif strategy == "fsdp":
        strategy = sharded(world)
    fabric: Fabric = lightning_fabric.Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(world // local, 1),
        precision=precision,
        strategy=strategy,
        plugins=_processes(world),
    )
    if world > 1:
        fabric.launch()
    return fabric


def launched() -> tuple[int, int]:
    """Return how many processes train together, in all and on this machine.

    Raises:
        OpkitInputError: their number is no number, or what tells them apart and where
            they meet is missing: a process would wait for the others for ever.
    """
    counts = []
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        value = os.environ.get(name, "").strip() or "1"
        if not value.isdecimal() or not int(value):
            raise OpkitInputError(f"{name} is {value!r}, no number: unset it")
        counts.append(int(value))
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if not os.environ.get(name)]
    if counts[0] > 1 and missing:
        raise OpkitInputError(
            f"WORLD_SIZE is {counts[0]} and {', '.join(missing)} not set: start the "
            "processes by torchrun, or unset WORLD_SIZE"
        )
    return counts[0], counts[1]


def _processes(world: int) -> list[Any]:
    """Say who started the processes, so that Fabric does not ask MPI.

    Fabric imports mpi4py to find out, which fails where there is no MPI library.
    """
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import (
        TorchElasticEnvironment,
    )

    if world == 1:
        return [LightningEnvironment()]
    return [TorchElasticEnvironment()] if TorchElasticEnvironment.detect() else []


def sharded(processes: int) -> ModelParallelStrategy:
    """Return the strategy that shards over all processes."""
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    return ModelParallelStrategy(
        _shard, data_parallel_size=processes, tensor_parallel_size=1
    )


def _shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=mesh["data_parallel"])
    return model


def gathered(value: Any) -> Any:
    """Return nested dicts and lists with every sharded tensor made whole.

    Every process has to call it.
    """
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: gathered(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gathered(item) for item in value)
    return value


def as_in(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shard whole tensors as the model's own of the same name are."""
    own = model.state_dict()
    return {name: _like(weight, own[name]) for name, weight in weights.items()}


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load whole or sharded tensors into a model, sharded or not."""
    model.load_state_dict(as_in(model, weights))


def optimiser_state(
    state: dict[int, dict[str, Any]], parameters: Sequence[Tensor]
) -> dict[int, dict[str, Any]]:
    """Shard what an optimiser keeps of each parameter as the parameter is."""
    return {
        index: {
            name: _like(value, parameters[index])
            if isinstance(value, Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in entries.items()
        }
        for index, entries in state.items()
    }


def _like(value: Tensor, other: Tensor) -> Tensor:
    if not isinstance(other, DTensor) or isinstance(value, DTensor):
        return value
    value = value.to(other.device)
    sharded: DTensor = distribute_tensor(value, other.device_mesh, other.placements)
    return sharded
