"""Progress in a notebook: a bar and a line of text that change in place.

rich's own bar needs ipywidgets there, which may not be installed; HTML needs nothing.
"""

from __future__ import annotations

import html
import sys
import time
from typing import Any

EVERY = 0.2
"""Seconds between two changes of what is shown."""


def notebook_bar(label: str, unit: str) -> Bar | None:
    """Return a bar where this process is the kernel of a notebook, else None.

    Args:
        label: what is done.
        unit: what is counted.
    """
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    return Bar(ipython.display, label, unit)


class Bar:
    """A bar in the output of a cell.

    Args:
        display: the module ``IPython.display``.
        label: what is done.
        unit: what is counted.
    """

    def __init__(self, display: Any, label: str, unit: str) -> None:
        self._display, self._label, self._unit = display, label, unit
        self._handle: Any = None
        self._shown = -EVERY

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how much is done, at most five times per second, and the end always.

        Args:
            done: units.
            total: units.
            note: about the state.
        """
        now = time.monotonic()
        if done < total and now - self._shown < EVERY:
            return
        self._shown = now
        texts = (self._label, f"{done}/{total} {self._unit}", note)
        words = html.escape("  ".join(filter(None, texts)))
        bar = f"<progress value='{done}' max='{max(total, 1)}'></progress> {words}"
        shown = self._display.HTML(bar)
        if self._handle is None:
            self._handle = self._display.display(shown, display_id=True)
        else:
            self._handle.update(shown)
