"""libopkit: packages give from C and Fortran what Python gives, or a code."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.case import load_case
from opkit.export import native
from opkit.generate import generate
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.outputs import by_name
from opkit.train import train

ROOT = Path(__file__).parents[2]
TORCH = Path(torch.__file__).parent
SLOW = pytest.mark.slow
FORTRAN = pytest.mark.skipif(not shutil.which("gfortran"), reason="no gfortran")
pytestmark = [
    pytest.mark.timeout(1500),  # compilers, on a machine that others use too
    pytest.mark.skipif(not shutil.which("g++"), reason="no g++"),
]
FLOAT32, FLOAT64 = 1, 2
INPUT, OUTPUT, VERDICT = 1, 2, 3
NO_FILE, PACKAGE, HANDLE, ARGUMENT, NOT_FINITE = 1, 2, 3, 4, 5


class Array(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 8),
    ]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 256),
        ("variables", ctypes.c_char * 256),
        ("rank", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 8),
    ]


def array(values: np.ndarray) -> Array:
    kind = {"float32": FLOAT32, "float64": FLOAT64}.get(values.dtype.name, 9)
    shape = (ctypes.c_int64 * 8)(*values.shape)
    return Array(values.ctypes.data, kind, values.ndim, shape)


class Library:
    """The functions of opkit.h by ctypes."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))

    def said(self) -> str:
        text = ctypes.create_string_buffer(1024)
        self.c.opkit_error(text, ctypes.c_int64(1024))
        return text.value.decode()

    def open(self, path: object) -> tuple[int, ctypes.c_int64]:
        handle = ctypes.c_int64(-1)
        return self.c.opkit_open(str(path).encode(), ctypes.byref(handle)), handle

    def run(self, handle: ctypes.c_int64, x: np.ndarray, y: np.ndarray) -> int:
        words = ctypes.byref(array(x)), 1, ctypes.byref(array(y)), 1
        return self.c.opkit_run(handle, *words)

    def describe(self, handle: ctypes.c_int64, what: int, index: int) -> Tensor:
        tensor = Tensor()
        code = self.c.opkit_describe(handle, what, index, ctypes.byref(tensor))
        assert code == 0, self.said()
        return tensor


def build(folder: Path) -> Path:
    """Compile the library as docs/native.md says, without optimising it."""
    path = folder / "libopkit.so"
    places = [f"-I{TORCH}/include", f"-I{TORCH}/include/torch/csrc/api/include"]
    libraries = [f"-L{TORCH}/lib", "-ltorch", "-ltorch_cpu", "-lc10"]
    subprocess.run(
        [
            "g++",
            "-std=c++20",
            "-O0",
            "-shared",
            "-fPIC",
            *places,
            native() / "opkit.cpp",
            "-o",
            path,
            "-Wl,--no-as-needed",
            *libraries,
            f"-Wl,-rpath,{TORCH}/lib",
        ],
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(build(tmp_path_factory.mktemp("libopkit")))


@pytest.fixture(scope="module")
def package(darcy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "model-aoti.pt2"
    report = opkit.export(darcy.run, "aoti", path, derivatives=True)
    assert report.programs == ("model", "verdict", "jvp", "vjp")
    return path


def test_the_header_is_c_and_the_module_is_fortran(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include "opkit.h"\nint x = OPKIT_INTERFACE;\n')
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    subprocess.run(
        ["g++", "-x", "c", *strict, "-c", "-I", native(), "a.c"],
        cwd=tmp_path,
        check=True,
    )
    if shutil.which("gfortran"):
        subprocess.run(
            ["gfortran", "-std=f2018", "-Wall", "-c", native() / "opkit.f90"],
            cwd=tmp_path,
            check=True,
        )


@SLOW
def test_fields_verdict_and_derivatives_are_pythons(library, package, darcy) -> None:
    judged = darcy.load().without_solver()
    code, handle = library.open(package)
    assert code == 0, library.said()
    tensor = library.describe(handle, INPUT, 0)
    assert tensor.name == b"inputs" and tensor.count == 1
    assert tensor.variables.split()[:2] == [b"permeability", b"1"]
    assert list(tensor.shape[: tensor.rank]) == [0, 1, 17, 17]  # any batch

    x = np.ascontiguousarray(darcy.permeability[:3, None], np.float32)
    y = np.zeros_like(x)
    parts = library.describe(handle, VERDICT, 0).count
    named = [library.describe(handle, VERDICT, k) for k in range(parts)]
    shapes = [(3, *t.shape[1 : t.rank]) for t in named]
    found = [np.zeros(shape, np.float32) for shape in shapes]
    verdict = (Array * parts)(*map(array, found))
    code = library.c.opkit_check(
        handle,
        ctypes.byref(array(x)),
        1,
        ctypes.byref(array(y)),
        1,
        verdict,
        parts,
    )
    assert code == 0, library.said()
    checked = judged(x, check=True)
    # float32 arithmetic in another order
    assert np.linalg.norm(y - checked.prediction) < 1e-6 * np.linalg.norm(y)
    by_name = {t.name.decode(): v for t, v in zip(named, found, strict=True)}
    for name, expected in (
        ("error_bound", checked.error_bound),
        ("novelty", checked.novelty),
        ("p_value", checked.p_value),
        ("usual", checked.resembles_training()),
    ):
        np.testing.assert_allclose(by_name[name], expected, rtol=1e-5, atol=1e-6)

    one, v, forth, back = (np.zeros((1, 1, 17, 17), np.float32) for _ in range(4))
    one[:], v[:] = x[:1], np.random.default_rng(0).normal(size=v.shape)
    pointers = [ctypes.byref(array(part)) for part in (one, v, forth, back)]
    code = library.c.opkit_jvp(handle, *pointers[:2], 1, pointers[2], 1)
    assert code == 0, library.said()
    inputs, direction = torch.from_numpy(one), torch.from_numpy(v)
    expected = torch.func.jvp(judged.predict, (inputs,), (direction,))[1].numpy()
    assert np.linalg.norm(forth - expected) < 1e-5 * np.linalg.norm(expected)
    code = library.c.opkit_vjp(handle, pointers[0], 1, pointers[1], 1, pointers[3])
    assert code == 0, library.said()
    w = torch.from_numpy(v)
    expected = torch.func.vjp(judged.predict, inputs)[1](w)[0].numpy()
    assert np.linalg.norm(back - expected) < 1e-5 * np.linalg.norm(expected)
    assert library.c.opkit_close(handle) == 0


@SLOW
def test_bad_input_is_a_code_and_a_line(library, package, tmp_path: Path) -> None:
    def said(code: int, expected: int, words: str) -> None:
        text = library.said()
        assert code == expected, text
        assert words in text and len(text.splitlines()) == 1

    code, handle = library.open(tmp_path / "absent.pt2")
    said(code, NO_FILE, "absent.pt2: missing")
    assert handle.value == 0
    (tmp_path / "text.pt2").write_text("no package")
    said(library.open(tmp_path / "text.pt2")[0], PACKAGE, "opkit export --to aoti")

    code, handle = library.open(package)
    assert code == 0
    x, y = (np.ones((2, 1, 17, 17), np.float32) for _ in range(2))
    said(library.run(handle, x[:, :, :9], y), ARGUMENT, "(2, 1, 9, 17), give (batch, 1")
    said(library.run(handle, x[0], y), ARGUMENT, "shape (1, 17, 17)")
    said(library.run(handle, x[:0], y), ARGUMENT, "shape")
    said(library.run(handle, x, y[:1]), ARGUMENT, "give (2, 1, 17, 17)")
    said(library.run(handle, x.astype(float), y), ARGUMENT, "give float32")
    said(library.run(handle, x.astype(np.int32), y), ARGUMENT, "give float32")
    here, there = ctypes.byref(array(x)), ctypes.byref(array(y))
    run = library.c.opkit_run
    said(run(handle, here, 2, there, 1), ARGUMENT, "2 inputs, give 1: inputs")
    said(run(handle, here, 1, there, 2), ARGUMENT, "2 outputs, give 1: outputs")
    said(run(handle, None, 1, there, 1), ARGUMENT, "null pointer")
    said(run(handle, here, 1, None, 1), ARGUMENT, "null pointer")
    for bad in (np.nan, np.inf):
        x[1, 0, 3, 4] = bad
        said(library.run(handle, x, y), NOT_FINITE, "not finite in sample 1")
    x[1, 0, 3, 4] = 1
    assert library.c.opkit_describe(handle, INPUT, 7, ctypes.byref(Tensor())) == 4
    assert library.c.opkit_describe(handle, 9, 0, ctypes.byref(Tensor())) == 4
    two = [ctypes.byref(array(part)) for part in (x, x, y)]
    code = library.c.opkit_jvp(handle, two[0], two[1], 1, two[2], 1)
    said(code, ARGUMENT, "takes 1 samples at once, not 2")
    # and it still answers
    assert library.run(handle, x, y) == 0 and np.isfinite(y).all()

    assert library.c.opkit_close(handle) == 0
    said(library.run(handle, x, y), HANDLE, "closed")
    said(library.c.opkit_close(handle), HANDLE, "closed")
    said(library.run(ctypes.c_int64(12345), x, y), HANDLE, "12345")


@SLOW
def test_outputs_of_several_kinds(library, tmp_path: Path) -> None:
    """A field, a series and a number of one surrogate, and both its derivatives."""
    few = ("resolution=17", "solver.parameters.intervals=20", "distribution.terms=4")
    sizes = ("samples.train=20", "samples.validation=20", "samples.test=10")
    data = generate(load_case("heat-boundary", (*few, *sizes)), tmp_path / "d.h5")
    small = ("training.epochs=2", "model.hidden_channels=8", "model.n_layers=1")
    train(data, tmp_path / "run", operator="fno", overrides=small)
    path = tmp_path / "model.pt2"
    opkit.export(tmp_path / "run", "aoti", path, verdict=False, derivatives=True)
    code, handle = library.open(path)
    assert code == 0, library.said()

    def parts_of(what: int) -> list[Tensor]:
        count = library.describe(handle, what, 0).count
        return [library.describe(handle, what, k) for k in range(count)]

    def room(tensors: list[Tensor]) -> list[np.ndarray]:
        shapes = [(1, *t.shape[1 : t.rank]) for t in tensors]
        return [np.zeros(shape, np.float32) for shape in shapes]

    def listed(values: list[np.ndarray]) -> ctypes.Array[Array]:
        return (Array * len(values))(*map(array, values))

    ins, outs = parts_of(INPUT), parts_of(OUTPUT)
    assert [t.name for t in outs] == [b"temperature", b"flux", b"heat"]
    surrogate = opkit.load(tmp_path / "run")
    samples = surrogate.samples(data, "test")
    x = [
        np.ascontiguousarray(samples[3][t.name.decode()][None], np.float32) for t in ins
    ]
    y, forth, back = room(outs), room(outs), room(ins)
    code = library.c.opkit_run(handle, listed(x), len(x), listed(y), 3)
    assert code == 0, library.said()
    names = [t.name.decode() for t in ins]
    inputs = Inputs.of(dict(zip(names, map(torch.from_numpy, x), strict=True)))

    def by_kind(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = Inputs(**dict(zip(inputs.by_role, tensors, strict=True)))
        return tuple(by_name(surrogate.predict(given), surrogate.config).values())

    tensors = tuple(inputs.by_role.values())
    for value, expected in zip(y, by_kind(*tensors), strict=True):
        # float32 arithmetic in another order
        np.testing.assert_allclose(value, expected.detach(), rtol=1e-4, atol=1e-5)
    rng = np.random.default_rng(0)
    v, w = (
        [rng.normal(size=a.shape).astype(np.float32) for a in like] for like in (x, y)
    )
    code = library.c.opkit_jvp(handle, listed(x), listed(v), len(x), listed(forth), 3)
    assert code == 0, library.said()
    code = library.c.opkit_vjp(handle, listed(x), len(x), listed(w), 3, listed(back))
    assert code == 0, library.said()
    along = tuple(map(torch.from_numpy, v))
    for value, expected in zip(
        forth, torch.func.jvp(by_kind, tensors, along)[1], strict=True
    ):
        gap = np.linalg.norm(value - expected.detach().numpy())
        assert gap < 1e-5 * expected.norm()
    # (w, N' v) = (N'ᵀ w, v), sums of 39 and 22 float32 products
    left, right = (
        sum(float((a * b).sum()) for a, b in zip(*pair, strict=True))
        for pair in ((w, forth), (back, v))
    )
    assert left == pytest.approx(right, rel=1e-4, abs=1e-5)
    code = library.c.opkit_run(handle, listed(x), len(x), listed(y), 1)
    assert code == ARGUMENT and "give 3: temperature, flux, heat" in library.said()
    assert library.c.opkit_close(handle) == 0


THREADS = """
import ctypes, os, sys
import numpy as np
library, package, out = sys.argv[1:]
c, handle = ctypes.CDLL(library), ctypes.c_int64()
assert c.opkit_open(package.encode(), ctypes.byref(handle)) == 0
class Array(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("type", ctypes.c_int32),
                ("rank", ctypes.c_int32), ("shape", ctypes.c_int64 * 8)]
def array(a):
    return ctypes.byref(Array(a.ctypes.data, 1, a.ndim, (ctypes.c_int64 * 8)(*a.shape)))
x = np.load(out + "/x.npy")
y = np.zeros_like(x)
before = len(os.listdir("/proc/self/task"))
assert c.opkit_run(handle, array(x), 1, array(y), 1) == 0
np.save(out + "/y.npy", y)
print(len(os.listdir("/proc/self/task")) - before)
"""


@SLOW
def test_threads_are_the_hosts(library, package, darcy, tmp_path: Path) -> None:
    """OMP_NUM_THREADS = 2 starts one thread more, 1 none; fields stay the same.

    torch starts no more threads than there are cores.
    """
    x = np.ascontiguousarray(darcy.permeability[:200, None], np.float32)
    np.save(tmp_path / "x.npy", x)
    fields = []
    for count in (1, 2):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        environment |= {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}
        words = [sys.executable, "-c", THREADS, library.c._name, package, tmp_path]
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == count - 1
        fields.append(np.load(tmp_path / "y.npy"))
    # sums in parts of another size, in float32
    gap = np.linalg.norm(fields[0] - fields[1])
    assert gap < 1e-6 * np.linalg.norm(fields[0])


@SLOW
def test_threads_of_the_host_get_their_own_answers_and_errors(
    library, package, darcy
) -> None:
    """Four threads of one handle, 50 calls each; one of them gives NaN."""
    code, handle = library.open(package)
    assert code == 0
    x = np.ascontiguousarray(darcy.permeability[:4, None], np.float32)
    expected = np.zeros_like(x)
    assert library.run(handle, x, expected) == 0

    def calls(k: int) -> float:
        one, y, worst = x[k : k + 1].copy(), np.zeros((1, 1, 17, 17), np.float32), 0.0
        if k == 3:
            one[0, 0, 5, 5] = np.nan
        for _ in range(50):
            code = library.run(handle, one, y)
            if k == 3:
                assert code == NOT_FINITE and "not finite in sample 0" in library.said()
            else:
                assert code == 0 and library.said() == ""
                worst = max(worst, float(np.abs(y[0] - expected[k]).max()))
        return worst

    with ThreadPoolExecutor(4) as threads:
        worst = max(threads.map(calls, range(4)))
    # one sample in place of four at once: another order of sums
    assert worst < 1e-5 * np.abs(expected).max()
    assert library.c.opkit_close(handle) == 0


@SLOW
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("interface", "99", "interface 99"), ("torch", "1.0.0", "torch 1.0.0")],
)
def test_other_versions_are_refused(
    library, package, tmp_path: Path, key: str, value: str, words: str
) -> None:
    changed, count = tmp_path / "other.pt2", 0
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(changed, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if (
                item.filename.endswith("wrapper_metadata.json")
                and b'"interface"' in content
            ):
                content = json.dumps({**json.loads(content), key: value}).encode()
                count += 1
            new.writestr(item.filename, content)
    assert count == 1
    code, _ = library.open(changed)
    assert code == PACKAGE, library.said()
    assert words in library.said() and "export again" in library.said()


@SLOW
@FORTRAN
def test_a_transport_loop_in_fortran(library, package, darcy, tmp_path: Path) -> None:
    """Fifty pressures; the last one is Python's; 10,000 more leave no memory behind."""
    source = ROOT / "examples" / "fortran" / "transport.f90"
    folder = Path(library.c._name).parent
    subprocess.run(
        [
            "gfortran",
            "-O1",
            native() / "opkit.f90",
            source,
            "-o",
            "transport",
            f"-L{folder}",
            "-lopkit",
            f"-Wl,-rpath,{folder}",
            f"-Wl,-rpath-link,{TORCH}/lib",
        ],
        cwd=tmp_path,
        check=True,
    )
    a0 = darcy.permeability[0].astype(np.float32)
    a0.tofile(tmp_path / "a0.f32")
    words = [package, "a0.f32", ".", "50", "10000"]
    done = subprocess.run(
        [tmp_path / "transport", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    a, p, c = (
        np.fromfile(tmp_path / f"{name}.f32", np.float32).reshape(17, 17)
        for name in "apc"
    )
    np.testing.assert_allclose(a, a0 * np.exp(-c / 2), rtol=0.1)  # c one step on
    assert 0 <= c.min() < c.max() < 1 and c[:, 0].mean() > 2 * c[:, -1].mean()
    judged = darcy.load().without_solver()
    checked = judged(a, check=True)
    gap = np.linalg.norm(p - checked.prediction)
    assert gap < 1e-6 * np.linalg.norm(checked.prediction)
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines())
    bound = float(lines["error bound"].split()[0])
    assert bound == pytest.approx(checked.error_bound[0], rel=1e-4)
    # a leak of one field a call would be 11 MB
    assert int(lines["kilobytes more after further calls"]) < 1000

    words[0] = tmp_path / "absent.pt2"
    failed = subprocess.run([tmp_path / "transport", *words], capture_output=True)
    assert failed.returncode == 2 and b"missing" in failed.stderr
