"""Surrogates: a bundle as a function from arrays to arrays, in physical units."""

from typing import TYPE_CHECKING

from opkit.base.face import late

if TYPE_CHECKING:
    from opkit.surrogate.surrogate import Surrogate, build, load

_MODULES = {
    "Surrogate": "opkit.surrogate.surrogate",
    "load": "opkit.surrogate.surrogate",
    "build": "opkit.surrogate.surrogate",
}
__all__ = ["Surrogate", "build", "load"]
__getattr__, __dir__ = late(__name__, _MODULES)
