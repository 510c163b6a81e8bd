"""Symmetries of a PDE used to enlarge the training data.

Where the case's solver says which symmetries its equation has, those are applied, with
the signs and offsets that belong to them, and others are refused. Elsewhere names mean
plain actions on the last axes of scalar fields, (…, y, x), and whether the problem has
them is for the recipe to say: a reflection holds for scalars such as permeability and
pressure, not for vorticity, which changes its sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from opkit.case.recipe import Recipe, Symmetry
from opkit.case.record import parse_stored
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.solvers.interface import KnowsSymmetries
from opkit.solvers.symmetry import Symmetry as Declared
from opkit.solvers.symmetry import act
from opkit.train.loop.batches import Sample

BOOST = 0.4
"""Largest velocity of Galilei's transformation, in rms of the inputs."""


@dataclass(frozen=True)
class Augmentation:
    """Symmetries of a recipe, ready to act on batches.

    Args:
        names: in the order in which they act.
        declared: those of the case's solver; None where it declares none.
        shape: of the grid, in space alone where symmetries are declared.
        extent: side of each axis.
        step: time between frames, where fields are frames.
    """

    names: tuple[Symmetry, ...]
    declared: Mapping[str, Declared] | None
    shape: tuple[int, ...]
    extent: tuple[float, ...] = ()
    step: float | None = None

    def __call__(self, batch: Sample, random: torch.Generator) -> Sample:
        """Apply one random element of the group to all fields of a batch alike."""
        if not self.names:
            return batch
        roles = [r for r in batch if r not in ("parameters", "series")]
        fields = [batch[role] for role in roles]
        if self.declared is None:
            fields = apply(self.names, fields, len(self.shape), random)
            return {**batch, **dict(zip(roles, fields, strict=True))}
        changed = dict(zip(roles, fields, strict=True))
        for name in self.names:
            symmetry = self.declared[name]
            if symmetry.velocity:
                changed = self._boosted(changed, symmetry.velocity, random)
                continue
            moves = tuple(
                int(torch.randint(max(self.shape), (), generator=random))
                for _ in symmetry.shifts
            )
            if moves or torch.rand((), generator=random) < 0.5:
                still = replace(symmetry, sign=1)  # masks and such change places alone
                changed = {
                    role: act(
                        symmetry if role in ("inputs", "outputs") else still,
                        values,
                        len(self.shape),
                        moves,
                    )
                    for role, values in changed.items()
                }
        return {**batch, **changed}

    def _boosted(
        self, fields: Sample, velocity: float, random: torch.Generator
    ) -> Sample:
        """Add a velocity to all frames, and move each as far as it has come."""
        inputs = fields["inputs"]
        part = 2 * torch.rand((), generator=random).item() - 1
        flow = BOOST * part * inputs.square().mean().sqrt()
        history = inputs.shape[1]
        moved = dict(fields)
        for role, first in (("inputs", 0), ("outputs", history)):
            frames = fields[role]
            n = frames.shape[-1]
            count = first + torch.arange(frames.shape[1], device=frames.device)
            far = velocity * flow * (self.step or 0.0) * count  # (frame,)
            k = torch.arange(n // 2 + 1, device=frames.device)
            angle = -2 * torch.pi / self.extent[-1] * far[:, None] * k
            phase = torch.polar(torch.ones_like(angle), angle)
            spectrum = torch.fft.rfft(frames) * phase[:, None]
            moved[role] = torch.fft.irfft(spectrum, n) + flow
        return moved


def augmentation(
    recipe: Recipe,
    case: Mapping[str, Any],
    shape: Sequence[int],
    periodic: Sequence[bool],
    extent: Sequence[float],
    step: float | None,
) -> Augmentation:
    """Return the symmetries of a recipe, or say which of them are wrong.

    Args:
        recipe: of the training.
        case: of the data; empty where there is none.
        shape: of the grid.
        periodic: whether each axis is.
        extent: side of each axis.
        step: time between frames, where there is one.

    Raises:
        OpkitInputError: a symmetry that the case's equation, the grid or the mode does
            not have.
    """
    names = recipe.training.symmetries
    known = _declared(case) if names else None
    if known is None:
        check_symmetries(names, shape, periodic)
        return Augmentation(names, None, tuple(shape))
    declared, axes = known
    space = tuple(shape)[-axes:]
    for name in names:
        if name not in declared:
            raise OpkitInputError(
                f"training.symmetries: {name} is no symmetry of case "
                f"{case.get('name')}, which has {', '.join(declared) or 'none'}"
            )
        declared[name].indices(space)
        if declared[name].velocity and not (recipe.arrangement.history and step):
            raise OpkitInputError(
                "symmetry galilei moves frames by the time between them: train with "
                "mode autoregressive, or leave it out"
            )
    return Augmentation(names, declared, space, tuple(extent)[-axes:], step)


def _declared(
    case: Mapping[str, Any],
) -> tuple[Mapping[str, Declared], int] | None:
    """Symmetries of a case's solver, and the number of axes of space."""
    if not case:
        return None
    try:
        stored = parse_stored(case, "data file")
        solver = stored.build_solver()
    except (CaseError, MissingExtraError):  # of data made elsewhere
        return None
    if not isinstance(solver, KnowsSymmetries):
        return None
    return solver.symmetries(), len(stored.space)


def check_symmetries(
    names: Sequence[Symmetry], shape: Sequence[int], periodic: Sequence[bool]
) -> None:
    """Refuse symmetries that the grid does not have.

    Raises:
        OpkitInputError: transposing a grid that is not square, or shifting one that is
            not periodic.
    """
    unknown = [name for name in names if name in ("rotate", "negate", "galilei")]
    if unknown:
        raise OpkitInputError(
            f"symmetry {unknown[0]} is for cases whose solver says that it has it: "
            "leave it out of training.symmetries"
        )
    if "transpose" in names and (len(shape) < 2 or shape[-1] != shape[-2]):
        raise OpkitInputError(
            f"symmetry transpose needs as many points in y as in x, not {tuple(shape)}"
        )
    if "flip_y" in names and len(shape) < 2:
        raise OpkitInputError("symmetry flip_y needs an axis y: leave it out")
    if "shift" in names and not all(periodic):
        raise OpkitInputError(
            "symmetry shift needs periodic axes: leave it out of training.symmetries"
        )


def apply(
    names: Sequence[Symmetry],
    fields: Sequence[Tensor],
    axes: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Apply one random element of the group to all fields of a batch alike.

    Args:
        names: generators of the group; each is used with probability 1/2, a shift is
            uniform over the grid.
        fields: tensors that share their last ``axes`` axes.
        axes: number of space axes.
        generator: source of randomness, on the CPU.
    """
    result = list(fields)
    for name in names:
        if name == "shift":
            shape = result[0].shape[-axes:]
            offsets = [int(torch.randint(n, (), generator=generator)) for n in shape]
            dims = list(range(-axes, 0))
            result = [field.roll(offsets, dims) for field in result]
            continue
        if torch.rand((), generator=generator) < 0.5:
            continue
        if name == "transpose":
            result = [field.transpose(-1, -2) for field in result]
        else:
            result = [field.flip(-1 if name == "flip_x" else -2) for field in result]
    return [field.contiguous() for field in result]
