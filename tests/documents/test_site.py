"""The site builds without a warning, and nothing in it is fetched from elsewhere."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if find_spec("sphinx") is None or find_spec("jupytext") is None:
    pytest.skip("Sphinx or jupytext is not installed", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_builds_and_opens_from_a_folder(tmp_path: Path) -> None:
    build = [sys.executable, str(ROOT / "docs/site/build.py"), "--fast", str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 80
    fetched = re.compile(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:)?//', re.I)
    for page in pages:
        assert not fetched.search(page.read_text("utf-8")), page
    residual = (tmp_path / "concepts/residual.html").read_text("utf-8")
    assert "<math" in residual and "\\frac" not in residual
    darcy = (tmp_path / "cases/darcy.html").read_text("utf-8")
    assert "opkit generate case darcy" in darcy
