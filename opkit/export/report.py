"""What was exported, from what, and how far its outputs are from the surrogate's."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch
from pydantic import ConfigDict
from pydantic import Field as Default
from torch import Tensor

from opkit.base.environment import VERSION
from opkit.base.records import Record
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels
from opkit.surrogate.checks.calibration import COVERAGE

ROOM = 10.0
FLOOR = 2.0**-23


class _Record(Record):
    model_config = ConfigDict(allow_inf_nan=True)  # figures of what went wrong


class Field(_Record):
    """One tensor that goes in or comes out, in physical units.

    Args:
        name: of the argument or result.
        shape: with ``"batch"`` where any batch size is taken.
        axes: what the axes are.
        variables: physical variables along the channel axis, in order.
    """

    name: str
    shape: tuple[int | str, ...]
    axes: tuple[str, ...]
    dtype: str = "float32"
    variables: tuple[Channels, ...]


class Difference(_Record):
    """Exported outputs against the surrogate's, on real inputs.

    Both compute in float32 and sum in another order. ``rounding`` is what float32 costs
    the surrogate itself: its distance to the same weights in float64 arithmetic. An
    export of the same function is about as far from there, so that ``relative_l2``
    must stay below ``tolerance``: 10 ``rounding``, or one unit of float32 if that is
    more.

    Args:
        samples: how many inputs.
        batches: sizes of the batches executed.
        max_abs: largest absolute difference, per output variable, in its units.
        relative_l2: largest relative L2 difference of a sample.
        rounding: largest relative L2 distance of a sample in float32 to float64.
        tolerance: what ``relative_l2`` may be.
    """

    samples: int
    batches: tuple[int, ...]
    max_abs: dict[str, float]
    relative_l2: float
    rounding: float
    tolerance: float


class VerdictField(_Record):
    """One tensor of a verdict, float32.

    Args:
        name: of it.
        columns: variables along its second axis; empty where it is (batch,).
        means: what it is.
        gap: largest difference from a check's |a - b| / max(|b|, 1).
    """

    name: str
    columns: tuple[str, ...]
    means: str
    gap: float = 0.0


class Derivative(_Record):
    """One product with the Jacobian.

    Args:
        samples: that it takes at once.
        relative_l2: difference from PyTorch's own derivative.
        tolerance: what that may be.
    """

    samples: int
    relative_l2: float
    tolerance: float


class Report(_Record):
    """The record beside an exported file.

    Args:
        programs: names of what the file can run.
        verdict: tensors of the verdict; empty where there is none.
        no_verdict: why there is none.
        coverage: probability that the error stays within the bound of the verdict.
        derivatives: products with the Jacobian, by program.
    """

    file: str
    sha256: str
    bytes: int
    target: str
    device: str
    operator: str
    case: str
    bundle_sha256: str
    history: int
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    difference: Difference
    seconds: dict[str, float]
    versions: dict[str, str]
    programs: tuple[str, ...] = ("model",)
    verdict: tuple[VerdictField, ...] = ()
    no_verdict: str = ""
    coverage: float = COVERAGE
    derivatives: dict[str, Derivative] = Default(default={})


def fields(
    config: BundleConfig, samples: Inputs, batch: int | None
) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Describe the tensors that go in and come out."""
    size: int | str = "batch" if batch is None else batch
    lead = ("batch", "history", "channel") if config.history else ("batch", "channel")
    space = tuple(samples.fields.shape[len(lead) :])
    places = ("batch", *config.shape.input_axes(config.axes))
    axes = {
        "fields": (*lead, *config.shape.input_axes(config.axes)),
        "static": ("batch", "channel", *config.axes),
        "boundary": ("batch", "channel", "boundary"),
        "parameters": ("batch", "parameter"),
        "series": ("batch", "channel", "time"),
        "points": (*places, "coordinate"),
        "weights": places,
    }
    ins = tuple(
        Field(
            name="inputs" if role == "fields" else role,
            shape=(size, *tensor.shape[1:]),
            axes=axes[role],
            variables=config.by_role.get(role, ()),
        )
        for role, tensor in samples.by_role.items()
    )
    if config.shape.packing is not None:
        return ins, tuple(_of_kind(v, config, size) for v in config.outputs)
    on_points = config.shape.shape if not config.shape.spectral else space
    out = Field(
        name="outputs",
        shape=(size, config.shape.out_channels, *on_points),
        axes=("batch", "channel", *config.axes),
        variables=config.outputs,
    )
    return ins, (out,)


def _of_kind(v: Channels, config: BundleConfig, size: int | str) -> Field:
    """Describe one of outputs of several kinds, which has a tensor of its own."""
    shape: tuple[int, ...] = (v.channels,) if v.channels > 1 else ()
    axes: tuple[str, ...] = ("channel",) if v.channels > 1 else ()
    if v.kind == "series":
        shape, axes = (len(config.times),), ("time",)
    elif v.kind == "field":
        shape, axes = (*shape, *config.shape.shape), (*axes, *config.axes)
    return Field(
        name=v.name, shape=(size, *shape), axes=("batch", *axes), variables=(v,)
    )


def compare(
    outputs: Tensor,
    expected: Tensor,
    exact: Tensor,
    config: BundleConfig,
    batches: tuple[int, ...],
    sizes: Tensor | None = None,
) -> Difference:
    """Measure an export's outputs against the surrogate's.

    Args:
        outputs: (sample, channel, *space) of the export.
        expected: of the surrogate, in float32.
        exact: of the surrogate, in float64.
        config: names the output variables.
        batches: sizes that were executed.
        sizes: usual size of each value of outputs of several kinds, (value,), which
            they are divided by before they are compared.
    """
    gap = (outputs.double() - expected.double()).abs()
    worst = {name: float(part.max()) for name, part in by_name(gap, config).items()}
    if sizes is not None:
        outputs, expected, exact = (part / sizes for part in (outputs, expected, exact))
    rounding = relative_l2(expected, exact)
    return Difference(
        samples=len(outputs),
        batches=batches,
        max_abs=worst,
        relative_l2=relative_l2(outputs, expected),
        rounding=rounding,
        tolerance=max(ROOM * rounding, FLOOR),
    )


def relative_l2(outputs: Tensor, expected: Tensor) -> float:
    """Return the largest relative L2 difference of a sample."""
    gap = (outputs.double() - expected.double()).flatten(1).norm(dim=1)
    size = expected.double().flatten(1).norm(dim=1)
    return float((gap / size.clamp_min(torch.finfo(torch.float32).tiny)).max())


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of Python, opkit, torch and the packages named."""
    known = {"python": platform.python_version(), "opkit": VERSION}
    known["torch"] = str(torch.__version__)
    return known | {name: version(name) for name in packages}
