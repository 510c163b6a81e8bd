"""What a check is: a number per sample, larger where less trust is deserved.

A check is fitted at the end of training, scores predictions ever after, and travels in
the bundle as tensors. It looks at the input alone (does it resemble the training
inputs?) or at the prediction too (does it solve the PDE?). `opkit.surrogate.checks`
lists the checks; nothing else has to know their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol, Self

from torch import Tensor

from opkit.base.arrays import Array
from opkit.case.mesh import stored_mesh
from opkit.errors import BundleError
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.checks.case_solver import CaseSolver


@dataclass(frozen=True)
class Context:
    """The surrogate that is checked.

    Args:
        config: its record.
        model: with its normalisers.
    """

    config: BundleConfig
    model: PhysicalModel

    @cached_property
    def case_solver(self) -> CaseSolver:
        """The case's solver; built when first needed, so that a bundle loads without.

        Raises:
            CaseError: the case's solver is not known here.
            MissingExtraError: the solver is not installed.
        """
        arrays = {name: t.cpu() for name, t in self.model.mesh.named_buffers()}
        shape = self.config.shape.build(arrays)
        return CaseSolver(self.config, stored_mesh(shape))


@dataclass(frozen=True)
class Pairs:
    """Inputs with predicted outputs, or with the true ones of samples.

    Args:
        inputs: a batch, physical units.
        outputs: (batch, [steps,] channel, *space), physical units.
    """

    inputs: Inputs
    outputs: Tensor


@dataclass(frozen=True)
class Reading:
    """What a check says of a batch.

    Args:
        values: (batch,), not negative; infinite where nothing good can be said.
        by_variable: the same for single variables, where a check can tell them apart.
    """

    values: Array
    by_variable: Mapping[str, Array] = field(default_factory=dict)


class Check(Protocol):
    """One reading per sample, and what it takes to compute it."""

    name: ClassVar[str]
    """Key of the readings, and of the tensors in a bundle."""
    of_input: ClassVar[bool]
    """Whether it looks at the input alone: such checks tell whether an input resembles
    the training inputs. They need no solver."""
    powers: ClassVar[tuple[float, ...]]
    """Exponents that calibration tries for this reading in the scale σ of errors; (0,)
    where the reading says nothing about the size of an error."""

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        """Learn from training samples with their true outputs.

        Raises:
            OpkitInputError: there can be no such check; the message says why.
        """
        ...

    def score(self, pairs: Pairs) -> Reading:
        """Read a batch.

        Raises:
            CaseError: the case's solver, which this check needs, is not known here.
            MissingExtraError: that solver is not installed.
        """
        ...

    def describe(self) -> str:
        """Say in a few words what the reading is."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learnt."""
        ...

    @classmethod
    def from_tensors(cls, context: Context, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild from `tensors`.

        Raises:
            BundleError: a tensor is missing, unknown or of a wrong shape.
        """
        ...


@dataclass(frozen=True)
class WithoutTensors:
    """Base of checks that learn nothing: the surrogate is all they need.

    Args:
        context: the surrogate.
    """

    name: ClassVar[str]
    context: Context

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    @classmethod
    def from_tensors(cls, context: Context, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild.

        Raises:
            BundleError: there are tensors.
        """
        refuse_names(tensors, (), f"{cls.name}.")
        return cls(context)


def refuse_names(
    tensors: Mapping[str, Tensor], names: Iterable[str], owner: str
) -> None:
    """Refuse tensors of a bundle unless they have exactly these names.

    Args:
        tensors: to be checked.
        names: what there must be.
        owner: whose they are, for the message; empty or ending in a dot.

    Raises:
        BundleError: a tensor is missing or unknown.
    """
    wrong = sorted(tensors.keys() ^ set(names))
    if wrong:
        listed = ", ".join(owner + name for name in wrong)
        raise BundleError(f"calibration: {listed} missing or unknown; train again")


def refuse_shape(tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse a tensor of a bundle that has another shape.

    Raises:
        BundleError: another shape.
    """
    if tuple(tensor.shape) != shape:
        raise BundleError(
            f"calibration: {name} has shape {tuple(tensor.shape)}, not {shape}; "
            "train again"
        )
