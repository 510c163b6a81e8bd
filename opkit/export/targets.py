"""The kinds of files: how each is written from a traced program, and executed."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.pt2_archive._package import load_pt2, package_pt2

from opkit.base.children import closed_folder
from opkit.base.compiler import compiler_fault, private_cache
from opkit.errors import ExportError, OpkitInputError, nearest, require

Function = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
"""One program of a file: inputs in their order to outputs in theirs."""
Programs = Mapping[str, ExportedProgram]
MAX_ONNX = 2**31 - 2**20  # protobuf's limit on a file


class Names(NamedTuple):
    """Names of the tensors that go in and come out, in order."""

    inputs: list[str]
    outputs: list[str]


def several(outputs: Any) -> tuple[Tensor, ...]:
    """Return outputs as a tuple, whether there is one or more."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Args:
        suffix: of the file.
        default: name of the file where none is given.
        write: (programs by name, path, names of the inputs and of the outputs of the
            program ``model``, metadata) -> None.
        open: (path, name of a program) -> function of the inputs.
        require: raises where something the target needs is missing.
        packages: whose versions matter.
        devices: where it can run.
        several: whether a file can hold further programs; where not, a verdict is
            further outputs of the one there is.
    """

    suffix: str
    default: str
    write: Callable[[Programs, Path, Names, dict[str, str]], None]
    open: Callable[[Path, str], Function]
    require: Callable[[], None]
    packages: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")
    several: bool = True


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
    programs: Programs, path: Path, names: Names, metadata: dict[str, str]
) -> None:
    memory = io.BytesIO()  # torch aborts the process where a disk is full
    with silent():
        if len(programs) == 1:
            torch.export.save(programs["model"], memory, extra_files=metadata)
        else:
            package_pt2(memory, exported_programs=dict(programs), extra_files=metadata)
    path.write_bytes(memory.getbuffer())


def _open_pt2(path: Path, program: str) -> Function:
    module = load_pt2(str(path)).exported_programs[program].module()
    return lambda inputs: several(module(*inputs))


def _write_aoti(
    programs: Programs, path: Path, names: Names, metadata: dict[str, str]
) -> None:
    import torch._inductor
    from torch._inductor.package.package import package_aoti

    options: dict[str, Any] = {
        "aot_inductor.package": True,
        # weights are constants: they are packed for the processor once
        "freezing": True,
        # as many threads as the program that runs it has, not as many as here
        "cpp.dynamic_threads": True,
    }
    memory = io.BytesIO()
    files: dict[str, Any] = {}
    try:
        with silent(), torch.no_grad(), closed_folder():
            for name, program in programs.items():
                assert program.example_inputs is not None
                own = metadata if name == "model" else {}
                files[name] = torch._inductor.aot_compile(
                    program.module(check_guards=False),
                    program.example_inputs[0],
                    options={**options, "aot_inductor.metadata": own},
                )
            package_aoti(memory, files)
    except Exception as error:  # of the compiler behind it
        raise ExportError(
            f"AOTInductor cannot compile it ({first_line(error)}): use --to pt2 or onnx"
        ) from error
    path.write_bytes(memory.getbuffer())


def _open_aoti(path: Path, program: str) -> Function:
    from torch._inductor.package.package import load_package

    package = load_package(str(path), program)
    return lambda inputs: several(package(*inputs))


def _compiler() -> None:
    fault = compiler_fault()
    if fault is not None:
        raise ExportError(f"--to aoti {fault}")
    private_cache()


def _write_onnx(
    programs: Programs, path: Path, names: Names, metadata: dict[str, str]
) -> None:
    program = programs["model"]
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


def _open_onnx(path: Path, program: str) -> Function:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [argument.name for argument in session.get_inputs()]

    about = session.get_modelmeta().custom_metadata_map
    verdict = about.get("verdict", "").split()
    own = [output.name for output in session.get_outputs()]
    asked = [name for name in own if (name in verdict) == (program == "verdict")]

    def function(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        arrays = [part.numpy() for part in inputs]
        outputs = session.run(asked, dict(zip(names, arrays, strict=True)))
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
        several=False,
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
