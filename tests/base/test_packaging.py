"""The explicit package list in pyproject.toml names every package folder."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_listed() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    config = tomllib.loads(text)["tool"]["setuptools"]
    found = set()
    for package, folder in config["package-dir"].items():
        for module in (ROOT / folder).rglob("*.py"):
            parts = module.relative_to(ROOT / folder).parent.parts
            found.add(".".join((package, *parts)))
    links = {"opkit.solvers", "opkit.datasets", "opkit.cases"}
    assert found, "no packages found"
    assert found - set(config["packages"]) == set()
    for link in links:
        assert (ROOT / link.replace(".", "/")).is_symlink()
