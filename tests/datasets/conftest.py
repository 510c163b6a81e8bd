import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opkit import safe_yaml
from opkit.case import Case, parse_case

PLUGIN = Path(__file__).parent / "plugin"


def heat_case(resolution: int = 8, **parameters: Any) -> Case:
    """The case of the toy solver: two-dimensional heat flow, four records."""
    stated = safe_yaml.read(PLUGIN / "toy-heat.yaml")
    stated["solver"]["parameters"] = parameters
    return parse_case(stated | {"resolution": resolution})


@pytest.fixture
def heat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Case]]:
    """Install the toy solver as a plug-in, here and in worker processes."""
    paths = [str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.invalidate_caches()
    yield heat_case
    sys.modules.pop("toy_heat", None)
