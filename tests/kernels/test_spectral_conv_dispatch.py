"""The spectral convolution: bad input, and which backend runs."""

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.kernels.spectral_conv import (
    choose_backend,
    describe,
    dispatch,
    spectral_conv,
)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"x": torch.ones(1, 2, 8, 8, dtype=torch.int64)}, "floating-point"),
        ({"x": torch.ones(1, 2, 8, 8, dtype=torch.complex64)}, "floating-point"),
        ({"x": torch.ones(1, 3, 8, 8)}, "channels"),
        ({"x": torch.ones(1, 2, 3, 8)}, "fewer modes"),
        ({"x": torch.ones(2, 8)}, "space axes"),
        ({"x": torch.ones(1, 2, 8, 8, 8, 8)}, "space axes"),
        ({"x": torch.ones(1, 2, 8)}, "does not fit"),
        ({"x": torch.ones(1, 2, 0, 8)}, "at least one point"),
        ({"weight": torch.ones(4, 3, 2, 2, dtype=torch.complex64)}, "real tensor"),
        ({"weight": torch.ones(4, 3, 2, 3, 3)}, "length 2"),
        ({"out_shape": (8,)}, "number of axes"),
        ({"out_shape": (2, 8)}, "fewer modes"),
        ({"norm": "none"}, "fft_norm"),
        ({"compat": "neuralop"}, "compat"),
        ({"precision": "fp16"}, "precision"),
        ({"backend": "cuda"}, "backend 'cuda'"),
    ],
)
def test_bad_input(change, word):
    good = {"x": torch.ones(1, 2, 8, 8), "weight": torch.ones(4, 3, 2, 2, 3)}
    with pytest.raises(OpkitInputError, match=word):
        spectral_conv(**(good | change))


def test_backend_from_the_environment(monkeypatch):
    arguments = (torch.device("cpu"), torch.float32, [4, 3], [8, 8], [8, 8])
    assert choose_backend(*arguments).name == "cpu"
    monkeypatch.setenv("OPKIT_SPECTRAL_BACKEND", "reference")
    choice = choose_backend(*arguments)
    assert choice.name == "reference"
    assert "OPKIT_SPECTRAL_BACKEND" in choice.reason
    monkeypatch.setenv("OPKIT_SPECTRAL_BACKEND", "refrence")
    with pytest.raises(OpkitInputError, match="Did you mean 'reference'"):
        choose_backend(*arguments)


def test_gpu_without_triton_falls_back_with_one_warning(monkeypatch, recwarn):
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    monkeypatch.setattr(dispatch, "_warned", set())
    arguments = (torch.device("cuda", 0), torch.float32, [4, 3], [16, 16], [16, 16])
    for _ in range(3):
        choice = choose_backend(*arguments)
        assert choice.name == "reference"
        assert "opkit[kernels]" in choice.reason
    assert len(recwarn) == 1
    with pytest.raises(OpkitInputError, match="triton is not installed"):
        choose_backend(*arguments, backend="triton")


def test_triton_on_the_cpu_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    arguments = (torch.device("cpu"), torch.float32, [4, 3], [16, 16], [16, 16])
    with pytest.raises(OpkitInputError, match="need a CUDA device"):
        choose_backend(*arguments, backend="triton")


def test_describe_names_every_device():
    rows = describe()
    assert rows[0].device == "cpu"
    assert rows[0].name == "cpu"
    assert all(row.reason for row in rows)
