"""What cannot be exported: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from opkit.cli import main
from opkit.errors import ExportError
from opkit.export.trace import REFUSED, trace

FNO = dict(n_modes=(5, 6), hidden_channels=8, n_layers=2)


@pytest.fixture(scope="module")
def fno(tmp_path_factory: pytest.TempPathFactory, bundles) -> Path:
    return bundles(tmp_path_factory.mktemp("fno") / "bundle", "fno", FNO)


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    def run(*words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["opkit", "export", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        text = capsys.readouterr().err
        assert caught.value.code == 2, text
        assert len(text.strip().splitlines()) == 1 and "Traceback" not in text
        assert sorted(tmp_path.rglob("*")) == before
        return text

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onxx"], "Did you mean 'onnx'?"),
        (["--to", "pt2", "-o", "a.onnx"], "end with .pt2"),
        (["--to", "pt2", "-o", "nowhere/a.pt2"], "no such folder"),
        (["--to", "pt2", "--batch", "0"], "number from 1 to"),
        (["--to", "pt2", "--batch", "many"], "dynamic for any"),
        (["--to", "pt2", "--data", "absent.h5"], "absent.h5"),
        (["--to", "pt2"], "give --data FILE"),
        (["--to", "onnx", "--device", "cuda"], "runs on cpu"),
    ],
)
def test_words_that_do_not_fit(refused, fno, words, message):
    assert message in refused(fno, *words)


def test_run_without_bundle(refused, tmp_path):
    assert "no bundle" in refused(tmp_path, "--to", "pt2")


def test_an_existing_file_stays(refused, fno, tmp_path):
    (tmp_path / "a.pt2").write_text("mine")
    assert "exists" in refused(fno, "--to", "pt2", "-o", tmp_path / "a.pt2")
    (tmp_path / "b.pt2.json").write_text("{}")  # no report of an export
    assert "exists" in refused(fno, "--to", "pt2", "-o", tmp_path / "b.pt2")
    assert (tmp_path / "a.pt2").read_text() == "mine"


def test_data_on_another_grid(refused, fno, write, tmp_path):
    data = write(tmp_path / "coarse.h5", size=9)
    text = refused(fno, "--to", "pt2", "-o", tmp_path / "a.pt2", "--data", data)
    assert "(9, 9)" in text and "(18, 18)" in text


def test_missing_extra(refused, fno, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = ("--to", "onnx", "-o", tmp_path / "a.onnx", "--data", data)
    assert "opkit[export]" in refused(fno, *words)


def test_no_compiler(refused, fno, data, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    words = ("--to", "aoti", "-o", tmp_path / "a.pt2", "--data", data)
    assert "install g++" in refused(fno, *words)


@pytest.mark.slow
def test_an_operator_that_onnx_has_no_form_for(refused, bundles, data, tmp_path):
    run = bundles(tmp_path / "bundle", "elliptic-fno", FNO)
    words = ("--to", "onnx", "-o", tmp_path / "a.onnx", "--data", data)
    text = refused(run, *words)
    assert "aten.linalg_cholesky" in text and "--to pt2" in text


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_operators_with_loops_over_data_are_refused_by_name(name):
    config = SimpleNamespace(operator=name)
    surrogate = SimpleNamespace(model=None, config=config, device="cpu")
    with pytest.raises(ExportError, match=rf"{name} cannot be exported: .*opkit.load"):
        trace(surrogate, (torch.zeros(1, 3),), None)


def test_onnx_holds_no_derivatives(refused, fno):
    assert "--to pt2 or aoti" in refused(fno, "--to", "onnx", "--derivatives")
