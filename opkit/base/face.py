"""Public names of a package, imported when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def late(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: ``__name__`` of the package.
        modules: public name to the module that defines it, as ``"module"``, or as
            ``"module:name"`` where it has another name there. ``package.name`` itself
            means that module, which is always the same object this way.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, own = modules[name].partition(":")
        defining = import_module(module)
        if module == f"{package}.{name}":
            return defining
        return getattr(defining, own or name)

    def names() -> list[str]:
        return sorted(modules)

    return get, names


def call_as(package: str, function: str) -> None:
    """Let a package be called as its function of the same name: ``opkit.train(...)``.

    A package and a function of one name would hide each other, depending on which was
    imported first.
    """

    class Callable(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(self, function)(*args, **kwargs)

    sys.modules[package].__class__ = Callable
