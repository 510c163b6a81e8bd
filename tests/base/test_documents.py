"""What the documents say of the house is so: floors, files, names, tables, links."""

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from opkit.operators import OPERATORS

ROOT = Path(__file__).parents[2]
PLANS = ("CONTRIBUTING.md", "docs/architecture.md")
TRIALS = ("heat", "affine", "mean")
"""Examples of what could be added."""
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
    if path.name != "CHANGELOG.md"  # names what was there once
)


def text(name: str) -> str:
    return (ROOT / name).read_text()


def contract() -> list[set[str]]:
    """Rooms of the floors, highest first."""
    settings = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]
    first = settings["contracts"][0]
    assert first["name"].startswith("Eight floors")
    return [set(re.findall(r"opkit\.(\w+)", row)) for row in first["layers"]]


@pytest.mark.parametrize("name", PLANS)
def test_floors_are_those_of_the_contract(name: str) -> None:
    rows = re.findall(r"^\| (\d) \| (.*) \|$", text(name), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(8, 0, -1))
    assert [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows] == contract()


def test_every_room_stands_on_a_floor_and_has_a_paragraph() -> None:
    rooms = {path.parent.name for path in (ROOT / "opkit").glob("*/__init__.py")}
    rooms = (rooms | {"errors"}) - {"cases"}  # YAML files alone
    assert rooms == set().union(*contract())
    described = re.findall(r"^\*\*(\w+)\*\* ", text("docs/architecture.md"), re.M)
    assert set(described) >= rooms


def test_the_house_is_as_planned() -> None:
    house: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "house.py"))
    graph = house["graph_of"](house["modules_of"](ROOT))
    assert house["circles_of"]({m: o - {"opkit"} for m, o in graph.items()}) == []
    floors = house["floors_of"](house["rooms_of"](graph))
    assert max(floors.values()) <= 8
    loose = {path.name for path in (ROOT / "opkit").glob("*.py")}
    assert loose == {"__init__.py", "errors.py"}


@pytest.mark.parametrize("name", PLANS)
def test_files_that_plans_name_are_there(name: str) -> None:
    missing = []
    named = r"`([\w./*-]+?\.(?:py|md|yaml|toml))(?::\w+)?`"
    for quoted in re.findall(named, text(name)):
        if Path(quoted).stem.removeprefix("test_") in TRIALS or "FORMAT" in quoted:
            continue
        if quoted in ("record.py", "config.yaml"):  # of several rooms, of a run
            continue
        places = (ROOT, ROOT / "opkit", ROOT / "opkit/surrogate", ROOT / "opkit/base")
        places += (ROOT / "solvers", ROOT / "opkit/pde", ROOT / "opkit/elements")
        places += (ROOT / "opkit/kernels", ROOT / "datasets", ROOT / "opkit/metrics")
        places += (ROOT / "opkit/case", ROOT / "opkit/operators")
        if not any(list(place.glob(quoted)) for place in places):
            missing.append(quoted)
    assert not missing


@pytest.mark.parametrize("name", DOCUMENTS)
def test_dotted_names_and_links_lead_somewhere(name: str) -> None:
    lost = []
    for dotted in re.findall(r"\bopkit(?:\.\w+)+", text(name)):
        parts = dotted.split(".")[1:]
        if parts[0] in ("yaml", "egg", "cpp", "f90", "h"):  # files
            continue
        place = ROOT / "opkit"
        while parts and (place / parts[0]).is_dir():
            place = place / parts.pop(0)
        if parts and (place / f"{parts[0]}.py").is_file():
            place = place / f"{parts.pop(0)}.py"
        source = place if place.suffix == ".py" else place / "__init__.py"
        if parts and not re.search(rf"\b{parts[0]}\b", source.read_text()):
            lost.append(dotted)
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text(name)):
        path = (ROOT / name).parent / link
        if "://" not in link and not path.exists() and not made_from_code(path):
            lost.append(link)
    assert not lost


def made_from_code(path: Path) -> bool:
    """Whether a page of the site is made while it is built (docs/site/build.py)."""
    try:
        page = path.resolve().relative_to(ROOT / "docs").as_posix()
    except ValueError:
        return False
    folders = ("cases/", "operator-pages/", "reference/", "tutorials/")
    return page.startswith(folders) or page in (
        "contributing.md",
        "changelog.md",
        "security.md",
    )


@pytest.mark.parametrize("name", ["README.md", "docs/operators.md"])
def test_tables_of_operators_are_complete(name: str) -> None:
    rows = set(re.findall(r"^\| `?([\w-]+)`? \|", text(name), re.MULTILINE))
    assert rows >= OPERATORS.keys()


def test_the_glossary_has_one_meaning_for_each_word() -> None:
    _, _, glossary = text("docs/architecture.md").partition("## Glossary")
    words = [
        word for word, _ in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", glossary, re.M)
    ]
    words = words[1:]
    assert 30 <= len(words) == len(set(words))


def test_the_operator_in_the_guide_works() -> None:
    import torch

    from opkit.operators.shapes import DataShape

    blocks = re.findall(r"```python\n(.*?)```", text("docs/operators.md"), re.DOTALL)
    code = next(block for block in blocks if "class Affine(Operator)" in block)
    names: dict[str, Any] = {}
    exec(compile(code, "operators.md", "exec", dont_inherit=True), names)
    affine = names["Affine"]
    shape = DataShape(2, 3, (4, 5), (False, False), (1.0, 1.0))
    model = affine(shape, affine.Options())
    assert model(torch.ones(1, 2, 4, 5)).shape == (1, 3, 4, 5)
