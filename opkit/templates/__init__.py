"""`opkit new`: write a small project with a case, an operator, or both, that works."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Literal, get_args

from opkit.base.files import appearing_folder, make_folder
from opkit.case import list_cases
from opkit.errors import CaseError, OpkitInputError, nearest
from opkit.operators.interface import operator_names

Kind = Literal["case", "operator", "plugin"]
CASE = {
    "solver.py": "{module}/solver.py",
    "cases_init.py": "{module}/cases/__init__.py",
    "case.yaml": "{module}/cases/{name}.yaml",
    "test_solver.py": "tests/test_solver.py",
}
OPERATOR = {
    "operator.py": "{module}/operator.py",
    "test_operator.py": "tests/test_operator.py",
}
BOTH = {"init.py": "{module}/__init__.py", "README.md": "README.md"}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


def write_project(kind: str, name: str, into: Path | None = None) -> Path:
    """Write a package that opkit finds once it is installed, with tests that pass.

    A ``case`` is the equation -k u″ + c u = f on (0, 1) with a solver of second order;
    an ``operator`` is a convolutional network; a ``plugin`` has both.

    Args:
        kind: ``case``, ``operator`` or ``plugin``.
        name: of the case or operator and of the project: lower-case words with hyphens.
        into: the folder in which the project's folder is made; the working directory by
            default.

    Returns:
        The project's folder, ``into / name``.

    Raises:
        CaseError: a case or operator of that name exists already.
        OpkitInputError: no such kind, or not a name.
        DataError: the folder exists or cannot be written.
    """
    if kind not in get_args(Kind):
        raise OpkitInputError(
            f"opkit new {kind}: no such template.{nearest(kind, get_args(Kind))} "
            f"Known: {', '.join(get_args(Kind))}"
        )
    module = name.replace("-", "_")
    if not NAME.match(name) or keyword.iskeyword(module) or len(name) > 60:
        raise OpkitInputError(
            f"{name!r} is no name for a project: use lower-case letters, digits and "
            "hyphens, such as heat-rod"
        )
    _refuse_taken(kind, name, module)
    parts: dict[str, str] = dict(BOTH)
    groups: list[str] = []
    if kind in ("case", "plugin"):
        parts |= CASE
        groups += [
            f'[project.entry-points."opkit.cases"]\n{name} = "{module}.cases"',
            f'[project.entry-points."opkit.solvers"]\n{name} = "{module}.solver:Rod"',
        ]
    if kind in ("operator", "plugin"):
        parts |= OPERATOR
        groups.append(
            f'[project.entry-points."opkit.operators"]\n'
            f'{name} = "{module}.operator:Convolutions"'
        )
    has_case, has_operator = "case.yaml" in parts, "operator.py" in parts
    packages = [module, f"{module}.cases"] if has_case else [module]
    use = [f"opkit check-solver {name}", f"opkit generate case {name} --out {name}.h5"]
    use = (use if has_case else []) + ([f"opkit operators {name}"] * has_operator)
    words = {
        "name": name,
        "module": module,
        "title": name.replace("-", " ").capitalize(),
        "entry_points": "\n\n".join(groups),
        "packages": ", ".join(f'"{package}"' for package in packages),
        "use": "\n".join(f"    {line}" for line in use),
    }
    parts["pyproject.toml"] = "pyproject.toml"
    folder = (into or Path()) / name
    make_folder(folder.parent)
    source = files("opkit.templates") / "project"
    with appearing_folder(folder, replace=False) as temporary:
        for part, place in parts.items():
            text = (source / f"{part}.template").read_text("utf-8")
            target = temporary / place.format(name=name, module=module)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(text).substitute(words), "utf-8")
    return folder


def _refuse_taken(kind: str, name: str, module: str) -> None:
    """Refuse a name that `opkit generate case` or `--operator` knows already.

    And one of a module of Python or of an installed package, which would be imported in
    place of the new one, or the other way round.
    """
    own = module == "tests" or module in sys.stdlib_module_names
    if own or find_spec(module) is not None:
        raise OpkitInputError(
            f"{name}: a package or module {module} exists already: choose another name"
        )
    for what, known in (("case", list_cases()), ("operator", operator_names())):
        if kind in (what, "plugin") and name in known:
            raise CaseError(f"{what} {name} exists already: choose another name")
