"""Version of opkit, and what a result may depend on besides data, recipe and seed."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

VERSION = "0.2.0"


VERBS = ("train", "tune")
"""Verbs of opkit that make bundles."""


def environment() -> dict[str, str]:
    """Return what a result may depend on besides data, recipe and seed."""
    import torch

    return {
        "opkit": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
        "processes": os.environ.get("WORLD_SIZE", "1"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def command() -> str:
    """Return the command line of this process, with names in place of whole paths."""
    name = Path(sys.argv[0]).name if sys.argv else "python"
    return shlex.join([name, *map(_without_place, sys.argv[1:])])


def recorded_command(text: str) -> str:
    """Return a command line that a bundle records as one that may be typed.

    Every word is quoted, and paths become names. Empty where it is no single command of
    opkit: a bundle comes from anywhere, and what it says is not for the shell.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    printable = all(word.isprintable() for word in words)
    if len(words) < 2 or words[0] != "opkit" or words[1] not in VERBS or not printable:
        return ""
    return shlex.join(map(_without_place, words))


def _without_place(word: str) -> str:
    """Take the folders away from a path, or from what follows ``=`` in an option."""
    option, equals, value = word.rpartition("=") if word[:1] == "-" else ("", "", word)
    outside = value.startswith(("/", "~", "\\\\")) or ".." in value.split("/")
    return (
        option + equals + (value.rstrip("/").rpartition("/")[2] if outside else value)
    )
