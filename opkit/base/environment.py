"""Version of opkit, and what a result may depend on besides data, recipe and seed."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

VERSION = "0.1.0"


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
    """Return the command line of this process."""
    name = Path(sys.argv[0]).name if sys.argv else "python"
    return shlex.join([name, *sys.argv[1:]])
