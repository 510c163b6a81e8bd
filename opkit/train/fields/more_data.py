"""Training that goes on from a bundle's weights, with more data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from opkit.base.files import real
from opkit.case.recipe import Recipe
from opkit.datasets.agreement import refuse_other
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import is_store
from opkit.datasets.read import DataFile
from opkit.errors import BundleError, DataError, OpkitInputError
from opkit.operators.shapes import DataShape, MeshShape
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.surrogate.checks.calibration import PREFIX
from opkit.train.fields.setup import TrainingSetup, chosen, halves, test_samples
from opkit.train.fields.shape import data_shape
from opkit.train.loop import guards
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


def all_files(start: Path, data: Path, more: Sequence[Path]) -> list[Path]:
    """Return the files with further samples: those of the start, then new ones.

    Args:
        start: run directory, or a bundle, which knows no files.
        data: first file of the new training; the start's further files belong to its
            own first file and go with no other.
        more: new files.

    Raises:
        OpkitInputError: a file of the start is gone.
    """
    own: list[Path] = []
    with suppress(BundleError, NotADirectoryError):
        config = RunDirectory(start).config()
        if real(Path(config.get("data", ""))) == real(data):
            own = [Path(path) for path in config.get("more", [])]
    for path in own:
        if not path.is_file():
            raise OpkitInputError(
                f"{path}: {start} was trained with it and it is gone: bring it back, "
                "or name the first data file of another run"
            )
    return list(dict.fromkeys(real(path) for path in (*own, *more)))


def add(setup: TrainingSetup, more: Sequence[Path], seed: int) -> TrainingSetup:
    """Add the training splits of more files; validation stays that of the first.

    Of what `Surrogate.solve` kept, the validation split is added to validation: error
    bounds then are for such inputs too. Samples of it that the first file holds are
    left out.

    Args:
        setup: of the first file.
        more: further files.
        seed: of the choice of calibration samples.

    Raises:
        DataError: a file of another case, grid, length or other variables.
    """
    if not more:
        return setup
    recipe = setup.recipe
    train, validation, known = [setup.train], [setup.validation], []
    with DataFile(setup.data) as first:
        contents = {first.content_hash()}
    for path in more:
        extra = _opened(path, recipe)
        content = extra.file.content_hash()
        if content in contents:
            raise DataError(
                f"{path}: holds the samples of a file that is given already: leave it "
                "away"
            )
        contents.add(content)
        name = extra.header.case.get("name")
        if name != setup.case.get("name"):
            raise DataError(f"{path}: of case {name}, not {setup.case.get('name')}")
        refuse_other(setup.stated, extra.stated(setup.axes), f"{setup.data} says")
        _refuse_shape(path, data_shape(extra, recipe)[0], setup)
        _refuse_length(path, extra, setup)
        known.append(f"{path.name} {content}")
        if not is_store(extra.header):
            train.append(in_memory(extra, recipe.training.memory))
            continue
        seen = _digests(setup)
        for split, parts in (("train", train), ("validation", validation)):
            if split in extra.header.splits:
                kept = _opened(path, recipe, split)
                parts.append(_without(in_memory(kept, recipe.training.memory), seen))
    setup = replace(setup, train=_join(train), more=tuple(known))
    if len(validation) == 1:
        return setup
    joined = _join(validation)
    selection, calibration = halves(joined, seed)
    return replace(
        setup, validation=joined, selection=selection, calibration=calibration
    )


def _opened(path: Path, recipe: Recipe, split: str | None = None) -> FieldDataset:
    """Open further samples; what a surrogate kept is on its own grid already.

    Args:
        path: the file.
        recipe: of the training.
        split: of the file; where None, ``train``, or all that a surrogate kept.
    """
    with DataFile(path) as file:
        if is_store(file.header):
            return recipe.samples(path, split, subsample=1, trusted=True)
    return recipe.samples(path, split or "train")


def _refuse_shape(
    path: Path, shape: DataShape | MeshShape, setup: TrainingSetup
) -> None:
    """Refuse another grid, mesh or other channels.

    Raises:
        DataError: they are.
    """
    ours = setup.shape
    if isinstance(shape, DataShape) and shape.ragged:
        shape = replace(shape, shape=ours.shape)  # of the first sample
    if shape != ours:
        what = "mesh" if isinstance(ours, MeshShape) else "grid"
        raise DataError(f"{path}: another {what} or other channels than {setup.data}")


def _refuse_length(path: Path, extra: FieldDataset, setup: TrainingSetup) -> None:
    """Refuse trajectories of another length: a batch holds those of one length.

    Raises:
        DataError: they are.
    """
    if not setup.history:
        return
    ours, its = (len(samples[0]["outputs"]) for samples in (setup.train, extra))
    if ours != its:
        raise DataError(
            f"{path}: {its} frames after the first ones, {setup.data} has {ours}: give "
            "trajectories of the same length"
        )


def _digests(setup: TrainingSetup) -> set[bytes]:
    """Digests of the inputs of all samples of the first file."""
    own = [setup.train, setup.validation]
    seen = {guards.digest(part[i]) for part in own for i in range(len(part))}
    return seen | {guards.digest(sample) for sample in test_samples(setup)}


def _without(samples: Samples, seen: set[bytes]) -> Samples:
    new = [i for i in range(len(samples)) if guards.digest(samples[i]) not in seen]
    return chosen(samples, new)


def _join(parts: list[Samples]) -> Samples:
    parts = [part for part in parts if len(part)]
    fields = [part.fields for part in parts if isinstance(part, Memory)]
    if len(fields) < len(parts):
        return SampleSets(parts)
    return Memory({k: torch.cat([f[k] for f in fields]) for k in fields[0]})
