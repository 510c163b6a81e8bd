"""A surrogate as a server: UM-Bridge, plain JSON, and a page to look at."""

from typing import TYPE_CHECKING

from opkit.base.face import call_as, late

if TYPE_CHECKING:
    from opkit.serve.server import Limits, serve

_MODULES = {
    "serve": "opkit.serve.server",
    "Limits": "opkit.serve.server",
}
__all__ = ["Limits", "serve"]
__getattr__, __dir__ = late(__name__, _MODULES)
call_as(__name__, "serve")
