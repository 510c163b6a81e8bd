"""Training that goes on from a bundle's weights, with more data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from opkit.case.recipe import Recipe
from opkit.datasets.agreement import refuse_other
from opkit.errors import BundleError, DataError, OpkitInputError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.checks.calibration import PREFIX
from opkit.train.fields.setup import TrainingSetup
from opkit.train.fields.shape import data_shape
from opkit.train.loop.batches import (
    Memory,
    Sample,
    Samples,
    in_memory,
)
from opkit.train.loop.recipes import overridden


class SampleSets:
    """Several sets of samples, one after the other."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


def resolve(start: Path, overrides: Sequence[str]) -> Recipe:
    """Return the recipe that a bundle was trained by, with overrides.

    Raises:
        OpkitInputError: a setting that does not exist, or that changes the operator.
    """
    start_recipe = bundle.read_config(start).recipe
    recipe = overridden(start_recipe.model_dump(mode="json"), overrides, f"of {start}")
    for name in ("operator", "model", "mode", "history"):
        if getattr(recipe, name) != getattr(start_recipe, name):
            raise OpkitInputError(
                f"{start}: {name} cannot change when training goes on"
            )
    return recipe


def load_weights(model: PhysicalModel, start: Path) -> None:
    """Take over a bundle's weights and normalisers.

    Raises:
        BundleError: damaged, or of another operator.
    """
    _, tensors = bundle.read(start)
    own = {k: v for k, v in tensors.items() if not k.startswith(PREFIX)}
    try:
        model.load_state_dict(own)
    except RuntimeError:
        raise BundleError(
            f"{start}: its weights do not fit these data: another grid or other "
            "variables"
        ) from None


def refuse_other_problem(start: Path, setup: TrainingSetup) -> None:
    """Refuse data of other variables, units, extents or steps than a bundle's.

    Raises:
        DataError: the message names what differs.
    """
    known = bundle.read_config(start).stated
    refuse_other(known, setup.stated, f"{start} was trained on")


def add(setup: TrainingSetup, more: Sequence[Path]) -> TrainingSetup:
    """Add the training splits of more files; validation stays that of the first.

    Raises:
        DataError: a file of another case, grid or other variables.
    """
    if not more:
        return setup
    recipe = setup.recipe
    parts, known = [setup.train], []
    for path in more:
        extra = recipe.samples(path, "train")
        name = extra.header.case.get("name")
        if name != setup.case.get("name"):
            raise DataError(f"{path}: of case {name}, not {setup.case.get('name')}")
        refuse_other(setup.stated, extra.stated(setup.axes), f"{setup.data} says")
        if data_shape(extra, recipe)[0] != setup.shape:
            raise DataError(f"{path}: another grid or other channels than {setup.data}")
        parts.append(in_memory(extra, recipe.training.memory))
        known.append(f"{path.name} {extra.file.content_hash()}")
    return replace(setup, train=_join(parts), more=tuple(known))


def _join(parts: list[Samples]) -> Samples:
    fields = [part.fields for part in parts if isinstance(part, Memory)]
    if len(fields) < len(parts):
        return SampleSets(parts)
    return Memory({k: torch.cat([f[k] for f in fields]) for k in fields[0]})
