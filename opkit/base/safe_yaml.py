"""A YAML reader for files from strangers: data only, no surprises.

Refuses aliases (they can blow up exponentially), tags, duplicate keys, nesting deeper
than 20, files over 1 MiB and values that are not finite; reads ``1e-3`` as a number
and leaves ``yes``, ``no``, ``1:30`` and ``010`` as text.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from opkit.base.files import open_regular
from opkit.errors import CaseError

MAX_BYTES = 1 << 20
MAX_DEPTH = 20


class _Refused(Exception):
    """A construct this reader does not accept."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _Refused(
                f"line {line}: aliases (*name) are not accepted: repeat the value"
            )
        tag = getattr(self.peek_event(), "tag", None)  # type: ignore[no-untyped-call]
        if tag is not None:
            raise _Refused(
                f"line {line}: tags ({tag}) are not accepted: write the value"
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"line {line}: nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise _Refused(f"line {line}: keys must be text, not {key!r}")
            if key in seen:
                raise _Refused(f"line {line}: key {key!r} appears twice: keep one")
            seen.add(key)
        return super().construct_mapping(node, deep=True)


def _number(loader: Any, node: Any) -> float:
    text = loader.construct_scalar(node)
    value = float(text) if text[-1] not in "fFnN" else math.inf
    if not math.isfinite(value):
        raise _Refused(f"line {node.start_mark.line + 1}: {node.value} is not finite")
    return value


def _integer(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    if len(text) > 20:
        raise _Refused(f"line {node.start_mark.line + 1}: integer of over 20 digits")
    return int(text)


_RESOLVERS = [
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
]
for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(
        _tag,
        re.compile(rf"^(?:{_pattern})$"),
        ["" if c == "\0" else c for c in _first],
    )
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse(text: str, origin: str = "YAML") -> Any:
    """Parse YAML text into dicts, lists, str, int, float, bool and None.

    Args:
        text: the document.
        origin: what to call it in error messages.

    Raises:
        CaseError: not YAML, or something this reader does not accept.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise CaseError(f"{origin}: not UTF-8 text (a lone surrogate)")
    if len(text) > MAX_BYTES:
        raise CaseError(f"{origin}: larger than {MAX_BYTES >> 20} MiB")
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except _Refused as refusal:
        raise CaseError(f"{origin}: {refusal}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise CaseError(f"{origin}: {where}{problem}") from None


def read(path: Path) -> Any:
    """Parse a YAML file; see `parse`.

    Raises:
        CaseError: unreadable, not UTF-8, or not accepted.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise CaseError(f"{path}: larger than {MAX_BYTES >> 20} MiB")
        return parse(data.decode("utf-8"), str(path))
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CaseError(f"{path}: not UTF-8 text") from None
