"""A bar in notebooks, and none elsewhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from opkit.base.notebook import notebook_bar


class Cell:
    """What a kernel's display module would show."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, text: str, display_id: bool) -> Cell:
        assert display_id
        return self.update(text)

    def update(self, text: str) -> Cell:
        self.shown.append(text)
        return self


def kernel(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> Cell:
    cell = Cell()
    shell = SimpleNamespace(config=config)
    module = SimpleNamespace(get_ipython=lambda: shell, display=cell)
    monkeypatch.setitem(sys.modules, "IPython", module)  # type: ignore[arg-type]
    return cell


def test_a_bar_in_a_notebook_changes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = kernel(monkeypatch, {"IPKernelApp": {}})
    bar = notebook_bar("training -> <runs>/a", "epochs")
    assert bar is not None
    bar.update(0, 40)
    bar.update(1, 40)  # within a fifth of a second: not shown
    bar.update(40, 40, "loss 0.1")
    first, last = cell.shown
    assert "value='0' max='40'" in first and "&lt;runs&gt;/a  0/40 epochs" in first
    assert "value='40'" in last and last.endswith("40/40 epochs  loss 0.1")


def test_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, {})  # a terminal with IPython
    assert notebook_bar("a", "b") is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook_bar("a", "b") is None
