"""Conditions on the named parts of a mesh's boundary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from opkit.base.records import Record
from opkit.errors import OpkitInputError
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh, components


class Condition(Record):
    """What is given on one part of the boundary.

    Args:
        kind: ``dirichlet`` gives p, ``neumann`` gives a ∂p/∂n, n pointing outwards.
        value: constant along the part.
    """

    kind: Literal["dirichlet", "neumann"]
    value: float = 0.0


Conditions = Mapping[str, Condition]


def check_conditions(mesh: SimplexMesh, conditions: Conditions) -> None:
    """Refuse conditions that do not fit the mesh's boundary.

    Raises:
        OpkitInputError: a part without a condition or a condition without a part.
        MeshError: a connected component without a Dirichlet part, whose pressure
            would be known only up to a constant.
    """
    for name in conditions:
        if name not in mesh.names:
            raise OpkitInputError(
                f"boundary {name!r}: the mesh has {', '.join(mesh.names)}"
            )
    for name in mesh.names:
        if name not in conditions:
            raise OpkitInputError(f"boundary {name!r} has no condition: add one")
    component = components(mesh.cells, len(mesh.points))
    dirichlet = [conditions[name].kind == "dirichlet" for name in mesh.names]
    fixed = np.unique(component[mesh.facets[np.array(dirichlet)[mesh.parts]]])
    loose = ~np.isin(component[mesh.cells[:, 0]], fixed)
    if loose.any():
        raise MeshError(
            f"the component of cell {int(np.argmax(loose))} has no Dirichlet part: its "
            "pressure is known up to a constant only; give the pressure somewhere"
        )
