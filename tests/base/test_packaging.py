"""The explicit package list in pyproject.toml names every package folder."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_listed() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    config = tomllib.loads(text)["tool"]["setuptools"]
    packages = set()
    for package, folder in config["package-dir"].items():
        for module in (ROOT / folder).rglob("*.py"):
            parts = module.relative_to(ROOT / folder).parent.parts
            packages.add(".".join((package, *parts)))
    links = {"opkit.solvers", "opkit.datasets", "opkit.cases"}
    assert packages, "no packages found"
    assert packages - set(config["packages"]) == set()
    for link in links:
        assert (ROOT / link.replace(".", "/")).is_symlink()
