"""A surrogate's model as a program of plain tensor operations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram

from opkit.elements.sparse import PARTS, SparseMatrix
from opkit.errors import ExportError, OpkitError
from opkit.export.compare import cycled
from opkit.export.derivatives import FORMS, derivative_program
from opkit.export.targets import first_line, silent
from opkit.export.verdict import VerdictProgram
from opkit.operators.inputs import Inputs
from opkit.operators.layers.spectral_conv import SpectralConv
from opkit.operators.layers.spectral_products import SpectralProducts
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.surrogate import Surrogate

EXAMPLE = 2
"""Batch that is traced where any is taken; 1 would be taken for a constant."""


SEARCH = (
    "it searches the neighbours of points outside the tensor program: call it through "
    "opkit.load"
)
REFUSED = {
    "beno": "its graph has as many nodes as lie inside the domain of each sample, a "
    "number that differs from batch to batch: call it through opkit.load, or train "
    "embedded",
    "gno": SEARCH,
    "multipole-gno": SEARCH,
    "gino": SEARCH,
    "lno": SEARCH,
    "lsm-points": "it computes with complex numbers at points that lie elsewhere in "
    "each sample: call it through opkit.load",
}
"""Operators that no file can hold, and why."""


def trace(
    surrogate: Surrogate,
    samples: Inputs,
    batch: int | None,
    judged: Surrogate | None = None,
    derivatives: bool = False,
    whole: bool = False,
) -> dict[str, ExportedProgram]:
    """Trace a surrogate's model, normalisers included.

    Args:
        surrogate: to be traced, which stays as it is.
        samples: real inputs, any number.
        batch: the one batch size to take; any where None.
        judged: the same with checks that ask no solver, for a verdict.
        derivatives: also trace products with the Jacobian, for one sample where the
            batch is any.
        whole: make one program of prediction and verdict.

    Returns:
        By name: ``model``, and where asked ``verdict``, ``jvp``, ``vjp``.

    Raises:
        ExportError: the operator does something that cannot be traced, or that exists
            only inside opkit.
    """
    name = surrogate.config.operator
    if name in REFUSED:
        raise ExportError(f"operator {name} cannot be exported: {REFUSED[name]}")
    examples = cycled(samples, batch or EXAMPLE)
    examples = examples.each(lambda part: part.to(surrogate.device))
    module = lower(surrogate.model, examples, surrogate.config)
    example = tuple(examples.by_role.values())
    parts: dict[str, nn.Module] = {"model": module}
    if judged is not None:
        verdict = VerdictProgram(
            module.model, module.roles, judged.checker.calibration
        ).eval()
        with torch.no_grad():
            verdict(*example)  # constants are made outside a trace
        if whole:
            parts["model"] = Both(module, verdict)
        else:
            parts["verdict"] = verdict
    programs = {
        key: _program(name, part, example, batch) for key, part in parts.items()
    }
    if derivatives:
        few = cycled(samples, batch or 1).by_role.values()
        single = tuple(part.to(surrogate.device) for part in few)
        for key in FORMS:
            programs[key] = derivative_program(key, name, module, single)
    for program in programs.values():
        _refuse_own(name, program)
    return programs


def _program(
    name: str, module: nn.Module, example: tuple[Tensor, ...], batch: int | None
) -> ExportedProgram:
    size = {0: Dim("batch", min=1)} if batch is None else None
    shapes = (tuple(size for _ in example),)  # of the one argument *tensors
    try:
        with silent(), torch.no_grad():
            return torch.export.export(module, example, dynamic_shapes=shapes)
    except OpkitError:
        raise
    except Exception as error:  # the tracer raises whatever the operator's code met
        hint = ": try --batch 1" if "Constraints violated" in str(error) else ""
        raise ExportError(
            f"operator {name} cannot be traced ({first_line(error)}){hint}"
        ) from error


def _refuse_own(name: str, program: ExportedProgram) -> None:
    """Refuse a program with operations that exist only inside opkit."""
    for node in program.graph.nodes:
        op = node.target
        if isinstance(op, OpOverload) and op.namespace not in ("aten", "prims"):
            raise ExportError(
                f"operator {name} cannot be exported: {op} exists only inside opkit"
            )


class Both(nn.Module):
    """Prediction and verdict in one program.

    Args:
        model: the prediction.
        verdict: what is known about it.
    """

    def __init__(self, model: OneStep, verdict: VerdictProgram) -> None:
        super().__init__()
        self.model = model
        self.verdict = verdict

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs, then the verdict."""
        outputs = self.model(*tensors)
        several = (outputs,) if isinstance(outputs, Tensor) else outputs
        return (*several, *self.verdict(*tensors))


class RowSums(nn.Module):
    """A sparse matrix as y_i = Σ_w a_iw x_c(iw): rows filled up to one width.

    Args:
        matrix: whose arrays are taken.
    """

    columns: Tensor
    values: Tensor

    def __init__(self, matrix: SparseMatrix) -> None:
        super().__init__()
        buffers = dict(matrix.named_buffers())
        starts, where, what = (buffers[f"own_{part}"] for part in PARTS)
        lengths = starts.diff()
        width = int(lengths.max()) if len(lengths) else 0
        slots = torch.arange(width, device=starts.device)
        place = (starts[:-1, None] + slots).clamp(max=max(len(where) - 1, 0))
        there = slots < lengths[:, None]
        zero = where.new_zeros(())
        self.register_buffer("columns", torch.where(there, where[place], zero))
        self.register_buffer("values", what[place] * there)

    def forward(self, x: Tensor) -> Tensor:
        """Return A x, (column, ...) to (row, ...)."""
        flat = x.reshape(x.shape[0], -1).to(self.values.dtype)
        product = (self.values[..., None] * flat[self.columns]).sum(1)
        return product.view(-1, *x.shape[1:])


class OneStep(nn.Module):
    """Physical inputs to physical outputs, one frame where there is a history.

    Args:
        model: the operator between its normalisers.
        roles: of the tensors that ``forward`` takes; see `Inputs`.
        config: record of the surrogate.
    """

    def __init__(
        self, model: PhysicalModel, roles: tuple[str, ...], config: BundleConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.roles = roles
        self.config = config

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map (batch, [history,] channel, *space) to (batch, channel, *space).

        Outputs of several kinds are a tensor each, as `by_name` gives them.
        """
        arguments = Inputs(**dict(zip(self.roles, tensors, strict=True)))
        outputs: Tensor = self.model(arguments)
        if self.config.shape.packing is not None:
            return tuple(by_name(outputs, self.config).values())
        return outputs.select(1, 0) if self.model.history else outputs


def lower(model: PhysicalModel, samples: Inputs, config: BundleConfig) -> OneStep:
    """Return a copy of a model of plain operations.

    Spectral layers are real matrix products there, sparse matrices sums along rows.

    Args:
        model: the model, which stays as it is.
        samples: inputs on the grid that the copy is for.
        config: record of the surrogate.

    Raises:
        ExportError: a spectral layer that works on several grids.
        OpkitInputError: a spectral layer that has no such form.
    """
    # state of a training run, such as gradients, is not part of the copy
    roles, example = tuple(samples.by_role), tuple(samples.by_role.values())
    module = OneStep(copy.deepcopy(model), roles, config).eval()
    grids = _grids(module, example)
    for name, (grid, target) in grids.items():
        layer = module.get_submodule(name)
        assert isinstance(layer, SpectralConv)
        module.set_submodule(name, SpectralProducts(layer, grid, target))
    for name, part in list(module.named_modules()):
        if isinstance(part, SparseMatrix):
            module.set_submodule(name, RowSums(part))
    for part in module.modules():
        # code may branch on a number: it is part of the program, not of the data
        for name, buffer in list(part.named_buffers(recurse=False)):
            if buffer.ndim == 0:
                value = buffer.item()
                delattr(part, name)
                setattr(part, name, value)
    module.requires_grad_(False)  # of the replaced layers as well
    with torch.no_grad():
        module(*example)  # constants that the operators cache are made outside a trace
    return module


def _grids(
    module: nn.Module, example: tuple[Tensor, ...]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Run once; return each spectral layer's grids of input and output."""
    grids: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, SpectralConv):

            def note(_: Any, inputs: Any, output: Tensor, name: str = name) -> None:
                pair = (tuple(inputs[0].shape[2:]), tuple(output.shape[2:]))
                if grids.setdefault(name, pair) != pair:
                    raise ExportError(f"{name} works on several grids: not exported")

            handles.append(layer.register_forward_hook(note))
    with torch.no_grad():
        module(*example)
    for handle in handles:
        handle.remove()
    return grids
