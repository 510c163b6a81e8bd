import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opkit.case import Case, parse_case

PLUGIN = Path(__file__).parent / "plugin"


def heat_case(resolution: int = 8, **parameters: Any) -> Case:
    """The case of the toy solver: two-dimensional heat flow, four records."""
    side = {"kind": "periodic"}
    return parse_case(
        {
            "name": "toy-heat",
            "version": 1,
            "title": "Heat flow on a torus",
            "equation": "u_t = nu lap u",
            "solver": {"target": "toy_heat:ToyHeat", "parameters": parameters},
            "geometry": {"extent": {"y": [0, 1], "x": [0, 1]}},
            "resolution": resolution,
            "boundary": {s: side for s in ("left", "right", "bottom", "top")},
            "inputs": [
                {"name": "initial_temperature", "dims": ["y", "x"], "units": "K"}
            ],
            "outputs": [
                {"name": "temperature", "dims": ["time", "y", "x"], "units": "K"}
            ],
            "samples": {"train": 8, "validation": 2, "test": 2},
        }
    )


@pytest.fixture
def heat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Case]]:
    """Install the toy solver as a plug-in, here and in worker processes."""
    paths = [str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.invalidate_caches()
    yield heat_case
    sys.modules.pop("toy_heat", None)
