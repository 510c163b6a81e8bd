"""How public objects show themselves: one short line, and a table in a notebook."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class Shown(ABC):
    """Base of objects with a short ``repr`` and a table as HTML.

    Subclasses say what is worth knowing in `_facts`; dataclasses among them are made
    with ``repr=False``.
    """

    @abstractmethod
    def _facts(self) -> Mapping[str, Any]:
        """Return what is worth knowing, by name; None where there is nothing to say."""

    def _pictures(self) -> Mapping[str, str]:
        """Return pictures as HTML by name, for notebooks; see `thumbnail.pictures`."""
        return {}

    def __repr__(self) -> str:
        """Return the name of the class and its facts, in one line."""
        known = ", ".join(f"{k}: {_text(v)}" for k, v in _known(self._facts()))
        return f"{type(self).__name__}({known})"

    def _repr_html_(self) -> str:
        """Return facts and pictures as a table, which notebooks show."""
        cells = [(name, html.escape(_text(v))) for name, v in _known(self._facts())]
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{cell}</td></tr>"
            for name, cell in (*cells, *self._pictures().items())
        )
        name = html.escape(type(self).__name__)
        return f"<table><caption>{name}</caption>{rows}</table>"


def duration(seconds: float | None) -> str:
    """Write a time with its unit, such as ``3.2 ms`` or ``2.5 h``; ``-`` for None."""
    if seconds is None:
        return "-"
    for unit, size, least in (("h", 3600.0, 2.0), ("min", 60.0, 2.0), ("s", 1.0, 1.0)):
        if seconds >= least * size:
            return f"{seconds / size:.3g} {unit}"
    if seconds >= 1e-3:
        return f"{1e3 * seconds:.3g} ms"
    return f"{1e6 * seconds:.3g} µs"


def grid(shape: tuple[int, ...]) -> str:
    """Return a shape as ``"64 x 64"``."""
    return " x ".join(str(n) for n in shape)


def _known(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in facts.items() if value not in (None, "")]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_text, value)) or "none"
    return str(value)
