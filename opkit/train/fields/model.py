"""From a setup to a model: weights of a seed, normalisers, what operators ask for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from opkit.case.recipe import Recipe
from opkit.datasets.field_dataset import collate
from opkit.errors import DataError, OpkitInputError
from opkit.operators import budget
from opkit.operators.interface import build_operator
from opkit.operators.shapes import MeshShape
from opkit.surrogate.bundle.build import number_normaliser, output_normaliser
from opkit.surrogate.bundle.normalise import (
    Normaliser,
    PackedNormaliser,
    PhysicalModel,
)
from opkit.train.fields.setup import TrainingSetup, test_samples
from opkit.train.loop import guards
from opkit.train.loop.batches import Memory

MOST_PARAMETERS = 20_000
"""Tensors of weights of a model, a few for each layer."""


def build_physical_model(setup: TrainingSetup, seed: int) -> PhysicalModel:
    """Construct the model with the weights of a seed, normalisers not yet fitted.

    Raises:
        OpkitInputError: options that the operator does not take, or that ask for more
            than the memory of this machine can train.
    """
    with torch.random.fork_rng(), _within_memory(setup.recipe):
        torch.manual_seed(seed)
        operator = build_operator(
            setup.recipe.operator, setup.shape, setup.recipe.model
        )
    return PhysicalModel(
        operator,
        Normaliser(sum(v.channels for v in setup.inputs)),
        output_normaliser(setup.shape_record()),
        setup.history,
        Normaliser(sum(v.channels for v in setup.static)) if setup.static else None,
        setup.shape.tensors() if isinstance(setup.shape, MeshShape) else None,
        number_normaliser(setup.parameters),
        Normaliser(len(setup.series)) if setup.series else None,
        setup.recipe.keep_means,
        setup.recipe.keep_energy,
    )


@contextmanager
def _within_memory(recipe: Recipe) -> Iterator[None]:
    """Refuse options of numbers that no machine, or not this one, can train."""
    most, name = budget.trainable_numbers(), recipe.operator
    if budget.largest(recipe.model) > budget.LARGEST:
        raise OpkitInputError(
            f"operator {name}: an option is over {budget.LARGEST}: make it smaller"
        )
    try:
        with budget.at_most(most, MOST_PARAMETERS):
            yield
    except budget.TooMuch:
        raise OpkitInputError(
            f"operator {name}: its options ask for over {most:.2g} numbers, which is "
            f"what this machine can train, or for over {MOST_PARAMETERS} layers: make "
            "widths, modes or the number of layers smaller"
        ) from None


def fit_normalisers(model: PhysicalModel, setup: TrainingSetup) -> None:
    """Fit on the training samples only, and check all samples.

    Raises:
        DataError: values that are not finite, or equal inputs in two splits.
    """
    roles = _normalisers(model)
    moments = {role: normaliser.moments() for role, normaliser in roles.items()}
    keys = []
    for sample in guards.finite_samples(setup.train, "training"):
        keys.append(guards.digest(sample))
        for role, moment in moments.items():
            moment.add(_even(roles[role], sample[role], setup.history, role))
    checked = guards.finite_samples(setup.validation, "validation")
    held_out = [guards.digest(sample) for sample in checked]
    guards.no_overlap(keys, held_out, "validation")
    test = [guards.digest(sample) for sample in test_samples(setup)]
    guards.no_overlap(keys, test, "test")
    guards.no_overlap(held_out, test, "test", "validation")
    for role, normaliser in roles.items():
        normaliser.fit(moments[role], setup.unscaled(role))


def prepare_operator(model: PhysicalModel, setup: TrainingSetup) -> None:
    """Show the normalised training samples to an operator that asks for them.

    Raises:
        OpkitInputError: the operator cannot be built from these samples.
    """
    if setup.ragged:
        fields = collate([setup.train[i] for i in range(len(setup.train))])
    else:
        fields = dict(Memory.of(setup.train).fields)
    for role, normaliser in _normalisers(model).items():
        field = fields[role]
        if isinstance(normaliser, PackedNormaliser):
            fields[role] = normaliser.encode(field, len(setup.train))
        elif setup.history and role in FRAMED:  # (sample, time, channel, *space)
            flat = normaliser.encode(field.flatten(0, 1))
            fields[role] = flat.view(field.shape)
        else:
            fields[role] = normaliser.encode(field)
    model.operator.prepare(fields)


def check_normalisers(model: PhysicalModel, setup: TrainingSetup) -> list[str]:
    """Fit normalisers again on the training samples; say which differ."""
    faults = []
    for role, stored in _normalisers(model).items():
        moments = stored.moments()
        for index in range(len(setup.train)):
            sample = setup.train[index]
            moments.add(_even(stored.cpu(), sample[role], setup.history, role))
        fitted = copy.deepcopy(stored.cpu()).fit(moments, setup.unscaled(role))
        fault = guards.normaliser_of(stored.cpu(), fitted, role)
        faults += [fault] if fault else []
    return faults


FRAMED = ("inputs", "outputs")
"""Roles of samples that are frames in autoregressive mode."""


def _normalisers(model: PhysicalModel) -> dict[str, Normaliser]:
    """Return the normalisers by the role of samples that they are for."""
    roles = ("inputs", "outputs", "static", "parameters", "series")
    by_role = {role: model.normaliser(role) for role in roles}
    return {role: each for role, each in by_role.items() if each is not None}


def _even(normaliser: Normaliser, field: Tensor, history: int, role: str) -> Tensor:
    """Return a sample as a batch, in what varies evenly."""
    batch = field if history and role in FRAMED else field[None]
    even = normaliser.even(batch)
    if not torch.isfinite(even).all():
        raise DataError(
            "a parameter whose law is log-uniform is 0 or negative in a training "
            "sample: remove the sample, or choose another law"
        )
    return even
