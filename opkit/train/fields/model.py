"""From a problem to a model: weights of a seed, normalisers, what operators ask for."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from opkit.errors import DataError
from opkit.operators.interface import build_operator
from opkit.operators.shapes import MeshShape
from opkit.surrogate.bundle.build import number_normaliser
from opkit.surrogate.bundle.normalise import Moments, Normaliser, PhysicalModel
from opkit.train.fields.problem import Problem, test_samples
from opkit.train.loop import guards
from opkit.train.loop.batches import Memory


def build_physical_model(problem: Problem, seed: int) -> PhysicalModel:
    """Construct the model with the weights of a seed, normalisers not yet fitted."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        operator = build_operator(
            problem.recipe.operator, problem.shape, problem.recipe.model
        )
    return PhysicalModel(
        operator,
        Normaliser(sum(v.channels for v in problem.inputs)),
        Normaliser(problem.shape.out_channels),
        problem.history,
        Normaliser(sum(v.channels for v in problem.static)) if problem.static else None,
        problem.shape.tensors() if isinstance(problem.shape, MeshShape) else None,
        number_normaliser(problem.parameters),
    )


def fit_normalisers(model: PhysicalModel, problem: Problem) -> None:
    """Fit on the training samples only, and check all samples.

    Raises:
        DataError: values that are not finite, or equal inputs in two splits.
    """
    roles = _normalisers(model)
    moments = {role: Moments() for role in roles}
    keys = []
    for sample in guards.finite_samples(problem.train, "training"):
        keys.append(guards.digest(sample))
        for role, moment in moments.items():
            moment.add(_even(roles[role], sample[role], problem.history, role))
    checked = guards.finite_samples(problem.validation, "validation")
    held_out = [guards.digest(sample) for sample in checked]
    guards.no_overlap(keys, held_out, "validation")
    test = [guards.digest(sample) for sample in test_samples(problem)]
    guards.no_overlap(keys, test, "test")
    guards.no_overlap(held_out, test, "test", "validation")
    for role, normaliser in roles.items():
        normaliser.fit(moments[role], problem.physical)


def prepare_operator(model: PhysicalModel, problem: Problem) -> None:
    """Show the normalised training samples to an operator that asks for them.

    Raises:
        OpkitInputError: the operator cannot be built from these samples.
    """
    fields = dict(Memory.of(problem.train).fields)
    for role, normaliser in _normalisers(model).items():
        field = fields[role]
        if problem.history and role in FRAMED:  # (sample, time, channel, *space)
            flat = normaliser.encode(field.flatten(0, 1))
            fields[role] = flat.view(field.shape)
        else:
            fields[role] = normaliser.encode(field)
    model.operator.prepare(fields)


def check_normalisers(model: PhysicalModel, problem: Problem) -> list[str]:
    """Fit normalisers again on the training samples; say which differ."""
    faults = []
    for role, stored in _normalisers(model).items():
        moments = Moments()
        for index in range(len(problem.train)):
            sample = problem.train[index]
            moments.add(_even(stored.cpu(), sample[role], problem.history, role))
        fitted = copy.deepcopy(stored.cpu()).fit(moments, problem.physical)
        fault = guards.normaliser_of(stored.cpu(), fitted, role)
        faults += [fault] if fault else []
    return faults


FRAMED = ("inputs", "outputs")
"""Roles of samples that are frames in autoregressive mode."""


def _normalisers(model: PhysicalModel) -> dict[str, Normaliser]:
    """Return the normalisers by the role of samples that they are for."""
    roles = ("inputs", "outputs", "static", "parameters")
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
