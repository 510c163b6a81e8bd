"""Where cases come from: built-in YAML files, installed entry points, and paths.

An entry point of the group ``opkit.cases`` names a package folder with YAML files,
as ``my-cases = "my_package.cases"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from opkit.base import safe_yaml
from opkit.case.record import Case, parse_case
from opkit.errors import CaseError, nearest


def _folders() -> Iterator[Traversable]:
    yield files("opkit.cases")
    for point in entry_points(group="opkit.cases"):
        try:
            yield files(point.value)
        except ModuleNotFoundError:
            continue


def _sources() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for folder in _folders():
        for item in folder.iterdir():
            if item.name.endswith(".yaml"):
                found.setdefault(item.name.removesuffix(".yaml"), item)
    return found


def list_cases() -> list[str]:
    """Names of all cases, built in and from entry points."""
    return sorted(_sources())


def load_case(name: str, overrides: Sequence[str] = ()) -> Case:
    """Load a case by name, or from a path that ends in .yaml or .yml.

    Args:
        name: ``"darcy"`` or ``"./mine.yaml"``.
        overrides: texts of the form ``"solver.parameters.forcing=2"``.

    Raises:
        CaseError: unknown, malformed, or an override that does not fit.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        data = safe_yaml.read(Path(name))
        origin = name
    else:
        sources = _sources()
        if name not in sources:
            raise CaseError(
                f"unknown case {name!r}.{nearest(name, sources)} "
                "`opkit cases` lists them; a path to a YAML file works too."
            )
        data = safe_yaml.parse(sources[name].read_text("utf-8"), name)
        origin = f"case {name}"
    if not isinstance(data, dict):
        raise CaseError(f"{origin}: a case is a mapping of keys to values")
    for override in overrides:
        apply_override(data, override)
    return parse_case(data, origin)


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set one value in nested plain data from a text ``"a.b=3"``.

    A key may be new only where it would be accepted; `parse_case` decides that.

    Raises:
        CaseError: no ``=``, or a path through something that is not a mapping.
    """
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise CaseError(f"--set {override}: write it as --set a.b=3")
    place: Any = data
    for depth, key in enumerate(keys[:-1]):
        place = place.setdefault(key, {})
        if not isinstance(place, Mapping):
            at = ".".join(keys[: depth + 1])
            raise CaseError(f"--set {override}: {at} is a value, not a group of keys")
    place[keys[-1]] = safe_yaml.parse(text, f"--set {path}")
