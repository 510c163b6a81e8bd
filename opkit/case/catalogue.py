"""Where cases come from: built-in YAML files, installed entry points, and paths.

An entry point of the group ``opkit.cases`` names a package folder with YAML files,
as ``my-cases = "my_package.cases"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from opkit.base import safe_yaml
from opkit.case.agreement import extent_of, sides_of
from opkit.case.mesh_file import absolute_paths
from opkit.case.record import Case, parse_case
from opkit.errors import CaseError, OpkitError, nearest
from opkit.solvers.interface import DescribesItself, KnowsSides

DESCRIBED = ("solver.parameters.domain", "solver.parameters.boundary")
"""Settings that title and equation of a case tell."""
DECIDES = ("solver", "distribution")
"""Settings that decide on which domain and with which conditions is solved."""


def _folders() -> Iterator[Traversable]:
    yield files("opkit.cases")
    for point in entry_points(group="opkit.cases"):
        try:
            yield files(point.value)
        except ModuleNotFoundError:
            continue


def _sources() -> dict[str, Traversable]:
    sources: dict[str, Traversable] = {}
    for folder in _folders():
        for item in folder.iterdir():
            if item.name.endswith(".yaml"):
                sources.setdefault(item.name.removesuffix(".yaml"), item)
    return sources


def list_cases() -> list[str]:
    """Names of all cases, built in and from entry points."""
    return sorted(_sources())


def load_case(name: str, overrides: Sequence[str] = ()) -> Case:
    """Load a case by name, or from a path that ends in .yaml or .yml.

    Mesh files are relative to the case's own file, those of overrides to the working
    directory.

    Args:
        name: ``"darcy"`` or ``"./mine.yaml"``.
        overrides: texts of the form ``"solver.parameters.forcing=2"``.

    Raises:
        CaseError: unknown, malformed, or an override that does not fit.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        source: Traversable = Path(name)
        data = safe_yaml.read(Path(name))
        origin = name
    else:
        sources = _sources()
        if name not in sources:
            raise CaseError(
                f"unknown case {name!r}.{nearest(name, sources)} "
                "`opkit cases` lists them; a path to a YAML file works too."
            )
        source = sources[name]
        data = safe_yaml.parse(source.read_text("utf-8"), name)
        origin = f"case {name}"
    if not isinstance(data, dict):
        raise CaseError(f"{origin}: a case is a mapping of keys to values")
    if isinstance(source, Path):
        data = absolute_paths(data, source.parent)
    for override in overrides:
        apply_override(data, override)
    case = parse_case(absolute_paths(data, Path.cwd()), origin)
    changed = _changed_recipes(case, overrides)
    if changed:
        check_recipes(case, changed, f"{origin}: ")
    return _described(case, overrides)


def check_recipes(
    case: Case, names: Iterable[str] | None = None, origin: str = ""
) -> None:
    """Refuse options that an operator does not have, before anything is solved.

    A data file keeps its case: training would find the fault after the solving.

    Args:
        case: the problem.
        names: of the recipes to look at; None for all. Those of equations have no
            options of data, and are left out.
        origin: what a message begins with.

    Raises:
        CaseError: names the recipe, and the nearest option or operator.
    """
    from opkit.operators.interface import parse_options  # loads torch

    for name in case.recipes if names is None else names:
        recipe = case.recipes[name]
        if recipe.stream:
            continue
        try:
            parse_options(recipe.operator, recipe.model)
        except OpkitError as error:
            raise CaseError(f"{origin}recipes.{name}: {error}") from None


def _changed_recipes(case: Case, overrides: Sequence[str]) -> list[str]:
    """Return the names of the recipes that overrides touch."""
    paths = [override.partition("=")[0].split(".") for override in overrides]
    changed = {path[1] if path[1:] else None for path in paths if path[0] == "recipes"}
    return [name for name in case.recipes if changed & {None, name}]


def _described(case: Case, overrides: Sequence[str]) -> Case:
    """Let title, equation, boundary and extent follow the solver's new parameters.

    What an override sets itself stays, and is compared when the solver is built.
    """
    paths = [override.partition("=")[0] for override in overrides]
    if not any(path.startswith(DECIDES) for path in paths):
        return case
    try:
        solver = case.construct_solver()
    except OpkitError:
        return case  # whoever builds the solver is told why it cannot be built
    texts: dict[str, Any] = {
        "geometry": {
            **case.geometry.model_dump(mode="json"),
            "extent": extent_of(case, solver),
        }
    }
    if isinstance(solver, KnowsSides):
        texts["boundary"] = {
            part: {"kind": kind, "value": value}
            for part, (kind, value) in sides_of(solver).items()
        }
    described = any(path.startswith(DESCRIBED) for path in paths)
    if described and isinstance(solver, DescribesItself):
        texts |= {"title": solver.title(), "equation": solver.equation()}
    own = {path.partition(".")[0] for path in paths}
    data = case.dump() | {key: text for key, text in texts.items() if key not in own}
    return parse_case(data, f"case {case.name}")


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
