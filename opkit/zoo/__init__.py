"""Trained surrogates that come with opkit, by name: ``opkit.load("zoo:burgers")``.

A folder beside this file is a bundle; ``python -m benchmarks.zoo`` makes them all from
the recipes and seeds in that module. Nothing is fetched from anywhere.
"""

from __future__ import annotations

from pathlib import Path

from opkit.errors import BundleError, nearest

PREFIX = "zoo:"
FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of all bundles of the zoo, without the prefix."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def is_name(path: Path) -> bool:
    """Whether a path is a name of the zoo, known or not."""
    return str(path).startswith(PREFIX)


def bundle_of(path: Path) -> Path:
    """Return the folder of a bundle of the zoo.

    Args:
        path: ``zoo:NAME``.

    Raises:
        BundleError: there is none of that name.
    """
    name = str(path).removeprefix(PREFIX)
    known = names()
    if name not in known:
        raise BundleError(
            f"{path}: no such bundle in the zoo.{nearest(name, known)} "
            "`opkit zoo` lists them"
        )
    return FOLDER / name
