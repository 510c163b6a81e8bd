"""The kinds of files: how each is written from a traced program, and executed."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from opkit.base.children import closed_folder
from opkit.base.compiler import compiler_fault, private_cache
from opkit.errors import ExportError, OpkitInputError, nearest, require

Function = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
MAX_ONNX = 2**31 - 2**20  # protobuf's limit on a file


class Names(NamedTuple):
    """Names of the tensors that go in and come out, in order."""

    inputs: list[str]
    outputs: list[str]


def _several(outputs: Any) -> tuple[Tensor, ...]:
    """Return outputs as a tuple, whether there is one or more."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Args:
        suffix: of the file.
        default: name of the file where none is given.
        write: (program, path, names of inputs and outputs, metadata) -> None.
        open: path -> function of the inputs.
        require: raises where something the target needs is missing.
        packages: whose versions matter.
        devices: where it can run.
    """

    suffix: str
    default: str
    write: Callable[[ExportedProgram, Path, Names, dict[str, str]], None]
    open: Callable[[Path], Function]
    require: Callable[[], None]
    packages: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")


def target(name: str) -> Target:
    """Return a kind of file by name.

    Raises:
        OpkitInputError: the name is unknown.
    """
    if name not in TARGETS:
        raise OpkitInputError(
            f"unknown target {name!r}.{nearest(name, TARGETS)} "
            f"Use --to {', '.join(TARGETS)}"
        )
    return TARGETS[name]


def _write_pt2(
    program: ExportedProgram, path: Path, names: Names, metadata: dict[str, str]
) -> None:
    memory = io.BytesIO()  # torch aborts the process where a disk is full
    with silent():
        torch.export.save(program, memory, extra_files=metadata)
    path.write_bytes(memory.getbuffer())


def _open_pt2(path: Path) -> Function:
    module = torch.export.load(path).module()
    return lambda inputs: _several(module(*inputs))


def _write_aoti(
    program: ExportedProgram, path: Path, names: Names, metadata: dict[str, str]
) -> None:
    import torch._inductor

    memory = io.BytesIO()
    try:
        with silent(), torch.no_grad(), closed_folder():
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=memory,
                # weights are constants: they are packed for the processor once
                inductor_configs={"aot_inductor.metadata": metadata, "freezing": True},
            )
    except Exception as error:  # of the compiler behind it
        raise ExportError(
            f"AOTInductor cannot compile it ({first_line(error)}): use --to pt2 or onnx"
        ) from error
    path.write_bytes(memory.getbuffer())


def _open_aoti(path: Path) -> Function:
    import torch._inductor

    package = torch._inductor.aoti_load_package(str(path))
    return lambda inputs: _several(package(*inputs))


def _compiler() -> None:
    fault = compiler_fault()
    if fault is not None:
        raise ExportError(f"--to aoti {fault}")
    private_cache()


def _write_onnx(
    program: ExportedProgram, path: Path, names: Names, metadata: dict[str, str]
) -> None:
    size = sum(t.nbytes for t in program.state_dict.values())
    if size > MAX_ONNX:
        raise ExportError(
            f"{size / 2**30:.1f} GiB of weights exceed the 2 GiB that an ONNX file may "
            "hold: use --to pt2 or aoti"
        )
    shapes: tuple[dict[int, str], ...] | None = None
    if program.range_constraints:
        shapes = tuple({0: "batch"} for _ in names.inputs)
    try:
        with silent(), torch.no_grad():
            converted = torch.onnx.export(
                program,
                dynamo=True,
                input_names=names.inputs,
                output_names=names.outputs,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # of the converter, or of a version of onnxscript
        missing = sorted(set(re.findall(r"aten\.\w+", str(error))))
        if not missing:
            missing = [first_line(error)]
        raise ExportError(
            f"ONNX has no form for {', '.join(missing[:3])}: use --to pt2 or aoti"
        ) from error
    assert converted is not None
    converted.model.metadata_props.update(metadata)
    converted.save(str(path), external_data=False)


def _open_onnx(path: Path) -> Function:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [argument.name for argument in session.get_inputs()]

    def function(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        arrays = [part.numpy() for part in inputs]
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return tuple(torch.from_numpy(np.asarray(part)) for part in outputs)

    return function


def _onnx_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "export")


TARGETS: dict[str, Target] = {
    "pt2": Target(".pt2", "model.pt2", _write_pt2, _open_pt2, lambda: None),
    "aoti": Target(".pt2", "model-aoti.pt2", _write_aoti, _open_aoti, _compiler),
    "onnx": Target(
        ".onnx",
        "model.onnx",
        _write_onnx,
        _open_onnx,
        _onnx_packages,
        ("onnx", "onnxscript", "onnxruntime"),
        ("cpu",),
    ),
}


@contextmanager
def silent() -> Iterator[None]:
    """Keep the exporters' own messages from the terminal; errors still raise."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def first_line(error: Exception) -> str:
    """Return the first line of what a library said, at most 160 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]
