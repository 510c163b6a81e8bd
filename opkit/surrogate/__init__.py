"""Surrogates: a bundle as a function from arrays to arrays, in physical units."""

from typing import TYPE_CHECKING

from opkit.base.face import late

if TYPE_CHECKING:
    from opkit.surrogate.blend import Blend, Blended
    from opkit.surrogate.surrogate import Surrogate, build, load

_MODULES = {
    "Blend": "opkit.surrogate.blend",
    "Blended": "opkit.surrogate.blend",
    "Surrogate": "opkit.surrogate.surrogate",
    "load": "opkit.surrogate.surrogate",
    "build": "opkit.surrogate.surrogate",
}
__all__ = ["Blend", "Blended", "Surrogate", "build", "load"]
__getattr__, __dir__ = late(__name__, _MODULES)
