"""Text from files, made safe to print."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Return the text with control characters written out, as ``\x1b``.

    Terminals obey control characters, and text that runs from right to left can look
    like another one; lone surrogates, as in file names that are not UTF-8, cannot be
    printed. Line breaks and tabs stay.
    """
    return _UNSEEN.sub(lambda match: _written(match[0]), text)


def visible_json(text: str) -> str:
    r"""Return JSON text with such characters as ``\u001b``: it stays JSON."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """Return `visible` text without line breaks."""
    return visible(" ".join(text.split("\n"))).replace("\t", " ")


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
