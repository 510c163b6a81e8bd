"""Every tutorial runs from top to bottom, with the small sizes that its head names."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "docs" / "site"
for module in ("jupytext", "nbclient", "nbconvert", "ipykernel"):
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)
sys.path.insert(0, str(SITE))
import tutorials  # noqa: E402

sys.path.remove(str(SITE))
NEEDS_FEM = {"dear-case", "own-mesh", "pipeline"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", tutorials.names())
def test_it_runs(name: str) -> None:
    if name in NEEDS_FEM and find_spec("dolfinx") is None:
        pytest.skip("FEniCSx is not installed")
    notebook = tutorials.run(tutorials.read(name, small=True))
    errors = [
        output["evalue"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "error"
    ]
    assert errors == []
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert ran and all(cell.execution_count for cell in ran)


def test_small_sizes_are_in_the_text() -> None:
    for name in tutorials.names():
        assert tutorials.read(name, small=True).startswith("# ")


def test_a_failing_block_fails_the_page() -> None:
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="no such template"):
        tutorials.run("# x\n\n```bash\nopkit new nonsense here\n```\n")


def test_what_was_printed_is_one_text_without_progress() -> None:
    text = "\x1b[1mbold\x1b[0m\n 10 %\r 50 %\r100 %\n"
    assert tutorials.plain(text) == "bold\n100 %\n"
