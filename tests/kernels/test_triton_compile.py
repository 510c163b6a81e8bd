"""Every shipped Triton configuration compiles for sm_80, sm_90, sm_100, unspilled.

No GPU is needed: Triton brings its own assembler. `launches` runs the launch code on
the meta device and records each launch instead of making it; `compile_launch` compiles
one. Results and speed are not checked here.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from opkit.kernels.spectral_conv import launch  # noqa: E402

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
OPTIONS = ("num_warps", "num_stages")


class Resources(NamedTuple):
    registers: int
    stack: int
    local: int
    shared: int
    ptx: str


class Launch(NamedTuple):
    """What triton.compile needs; equal launches give the same binary."""

    kernel: Any
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[int, Any], ...]
    aligned: tuple[int, ...]
    options: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        names = self.kernel.arg_names
        blocks = [f"{names[i]}={v}" for i, v in self.constants if names[i].isupper()]
        return f"{self.kernel.__name__}({', '.join(blocks)})"


def describe(kernel: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Launch:
    """Specialise as the just-in-time compiler does: on 1, and on multiples of 16."""
    signature, constants, aligned = {}, {}, []
    for i, name in enumerate(kernel.arg_names):
        value = keywords[name] if name in keywords else args[i]
        if isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
            aligned.append(i)
        elif name in keywords or value == 1:
            signature[name], constants[i] = "constexpr", value
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                aligned.append(i)
    options = tuple((name, keywords[name]) for name in OPTIONS)
    return Launch(
        kernel,
        tuple(signature.items()),
        tuple(constants.items()),
        tuple(aligned),
        options,
    )


def launches(monkeypatch, grid, modes, precision, batch=16, channels=32) -> set[Launch]:
    """All launches of a forward and a backward pass."""
    result: set[Launch] = set()

    def record(kernel, grid, *args, **keywords):
        result.add(describe(kernel, args, keywords))

    with monkeypatch.context() as patch:
        patch.setattr(launch, "run", record)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        x = torch.empty(batch, channels, *grid, device="meta", dtype=dtype)
        z = launch.analysis(x, modes, 1.0, False, precision)
        weight = torch.empty(len(z), channels, 2, channels, device="meta")
        launch.mix(z, weight, precision)
        launch.mix_input(z, weight, precision)
        launch.mix_weight(z, z, precision)
        launch.synthesis(z, modes, list(grid), 1.0, True, False, precision)
    return result


def compile_launch(item: Launch, capability: int) -> Resources:
    source = ASTSource(
        item.kernel,
        dict(item.signature),
        {(i,): value for i, value in item.constants},
        {(i,): [["tt.divisibility", 16]] for i in item.aligned},
    )
    binary = triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options=dict(item.options),
    )
    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        text = subprocess.run(
            [folder / "cuobjdump", "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def number(key: str) -> int:
        match = re.search(rf"{key}:(\d+)", text)
        assert match, text
        return int(match[1])

    return Resources(
        number("REG"),
        number("STACK"),
        number("LOCAL"),
        binary.metadata.shared,
        binary.asm["ptx"],
    )


# One size for each block choice of `launch.py`: modes in 16, 32 or more along the
# last axis and along another one, lines aligned to 16 bytes or not, 1 to 3 axes.
SIZES = [
    ((8192,), (17,)),
    ((8191,), (13,)),
    ((1000,), (65,)),
    ((64, 64), (24, 13)),
    ((85, 85), (24, 13)),
    ((128, 128), (32, 17)),
    ((241, 241), (32, 17)),
    ((128, 128), (24, 17)),
    ((128, 128), (40, 13)),
    ((256, 256), (64, 33)),
    ((301, 301), (70, 40)),
    ((64, 64, 64), (16, 16, 9)),
    ((33, 64, 64), (16, 32, 17)),
    ((64, 64, 65), (34, 34, 33)),
]
SHARED = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}


def faults(item: Launch, capability: int) -> list[str]:
    code = compile_launch(item, capability)
    faults = []
    if code.stack or code.local:
        faults.append(f"{item.name} spills {code.stack + code.local} bytes")
    if code.shared > SHARED[capability]:
        faults.append(f"{item.name} needs {code.shared} bytes of shared memory")
    if "mma" not in code.ptx:
        faults.append(f"{item.name} does not use tensor cores")
    return faults


def test_forward_and_backward_compile_for_hopper(monkeypatch):
    items = launches(monkeypatch, (64, 64), (24, 13), "fp32")
    names = sorted(item.kernel.__name__ for item in items)
    assert names == [
        "analyse_planes",
        "contract",
        "contract",
        "contract_batch",
        "synthesise_planes",
    ]
    assert [fault for item in items for fault in faults(item, 90)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_every_configuration(precision, capability, monkeypatch):
    items: set[Launch] = set()
    for grid, modes in SIZES:
        items |= launches(monkeypatch, grid, modes, precision)
    for batch, channels in ((1, 20), (64, 64)):
        items |= launches(monkeypatch, (64, 64), (24, 13), precision, batch, channels)
    kinds = {item.kernel.__name__ for item in items}
    assert len(kinds) == 8, kinds
    assert [fault for item in items for fault in faults(item, capability)] == []


def test_records_do_not_need_a_device(monkeypatch):
    items = launches(monkeypatch, (32, 32), (8, 5), "bf16")
    assert any("*bf16" in dict(item.signature).values() for item in items)
    assert not torch.cuda.is_initialized()
