"""What a model lacks, in closed form: missing terms from increments.

    from opkit.discover import discover, spectral_library

    found = discover(model, before, after, interval, spectral_library((x,), (length,)))
    found.rows()  # term, coefficient, standard error, share of the increments

``model`` is any function from states (sample, *space) to those one ``interval`` later.
"""

from opkit.discover.increments import Discovery, Term, discover
from opkit.discover.layers import layered_library
from opkit.discover.library import Library, spectral_library
from opkit.discover.relevance import relevance_vectors

__all__ = [
    "Discovery",
    "Library",
    "Term",
    "discover",
    "layered_library",
    "relevance_vectors",
    "spectral_library",
]
