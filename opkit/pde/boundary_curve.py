"""The data on a closed boundary curve, by name: what solver and operators agree on.

The curve runs counter-clockwise, the domain to its left. On each of its faces: the
middle (x, y), the datum (u where the kind is 0, Dirichlet; ∂u/∂n where it is 1,
Neumann), and the outward normal.
"""

CURVE = (
    "boundary_x",
    "boundary_y",
    "boundary_value",
    "boundary_kind",
    "normal_x",
    "normal_y",
)
"""Variables on the faces, in the order in which operators name their channels."""
