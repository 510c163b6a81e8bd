"""The Triton kernels in Triton's interpreter: at most 100 programs a case, no GPU.

The interpreter must be asked for before triton is imported, hence the subprocess. It
multiplies tf32 operands in full fp32, so that mode's accuracy needs a GPU.
"""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import json, sys, torch
from opkit.kernels.spectral_conv import launch, spectral_conv

programs = []
real_run = launch.run

def counted(kernel, grid, *args, **options):
    total = 1
    for size in grid:
        total *= size
    programs.append(total)
    real_run(kernel, grid, *args, **options)

launch.run = counted

def relative(a, b):
    return ((a.double() - b).norm() / b.norm()).item()

results = []
for grid, modes, batch, inputs, outputs, precision in json.loads(sys.argv[1]):
    torch.manual_seed(0)
    x = torch.randn(batch, inputs, *grid, dtype=torch.float64, requires_grad=True)
    tail = (inputs, 2, outputs) if outputs else (inputs, 2)
    weight = torch.randn(*modes, *tail, dtype=torch.float64)
    weight.requires_grad_()
    y = spectral_conv(x, weight, backend="reference")
    grad = torch.randn_like(y)
    truth = (y, *torch.autograd.grad(y, (x, weight), grad))
    x32 = x.detach().float().requires_grad_()
    w32 = weight.detach().float().requires_grad_()
    programs.clear()
    y = spectral_conv(x32, w32, backend="triton", precision=precision)
    found = (y, *torch.autograd.grad(y, (x32, w32), grad.to(y.dtype)))
    errors = [relative(a, b) for a, b in zip(found, truth)]
    results.append({"programs": sum(programs), "errors": errors})
print(json.dumps(results))
"""


def interpret(cases):
    environment = dict(os.environ, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
    environment.pop("OPKIT_SPECTRAL_BACKEND", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(cases)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
    )
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("Triton 3.6 interprets with numpy before 2.4 only")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(cases):
    for case, result in zip(cases, interpret(cases), strict=True):
        # fp32 sums of about 100 terms: 1e-6; bf16 input, table and output: 2^-9 each,
        # independent, about 7e-3 in norm
        limit = 2e-2 if case[-1] == "bf16" else 1e-6
        assert max(result["errors"]) < limit, (case, result)
        assert result["programs"] <= 100, (case, result)


# (grid, modes, batch, in_channels, out_channels or 0: separable, precision)
QUICK = [
    ((40,), (7,), 2, 3, 5, "fp32"),
    ((41,), (7,), 1, 2, 2, "bf16"),
    ((9, 10), (4, 3), 2, 2, 3, "fp32"),
    ((8, 8), (4, 5), 1, 2, 2, "fp32"),
    ((33, 35), (3, 4), 1, 2, 2, "tf32"),
    ((10, 9), (3, 3), 1, 2, 2, "bf16"),
    ((3, 6, 5), (3, 2, 3), 1, 2, 1, "fp32"),
]
SLOW = [
    ((67,), (33,), 1, 2, 0, "fp32"),  # folded, two blocks of modes
    ((71,), (30,), 1, 2, 2, "fp32"),
    ((3, 41), (1, 18), 1, 2, 1, "fp32"),  # folded planes
    ((36, 4), (36, 1), 1, 1, 0, "fp32"),  # 32 wavenumbers, even count
    ((3, 70), (1, 34), 1, 1, 0, "fp32"),  # rows, then the other axis
    ((67, 3), (67, 1), 1, 1, 0, "tf32"),
    ((3, 2, 66), (1, 1, 34), 1, 1, 0, "fp32"),
    ((2, 2, 66), (1, 1, 34), 1, 1, 0, "bf16"),
]


def test_kernels_equal_the_reference():
    check(QUICK)


@pytest.mark.slow
def test_every_route_through_the_kernels():
    check(SLOW)
