"""Classical solvers, one PDE a file.

`SOLVERS` is the allow-list of built-in targets that a case may name. Others come from
installed packages through the entry-point group ``opkit.solvers``.
"""

SOLVERS: dict[str, str] = {
    "darcy": "opkit.solvers.darcy:Darcy",
    "darcy-mesh": "opkit.solvers.fem.darcy_mesh:DarcyMesh",
    "elliptic-boundary": "opkit.solvers.elliptic_boundary:EllipticBoundary",
    "elastic-cantilever": "opkit.solvers.fem.elasticity:Cantilever",
    "navier-stokes": "opkit.solvers.navier_stokes:NavierStokes",
    "quasi-geostrophic": "opkit.solvers.quasi_geostrophic:QuasiGeostrophic",
    "burgers": "opkit.solvers.burgers:Burgers",
    "linear-pde": "opkit.solvers.linear_pde:LinearPDE",
    "manufactured": "opkit.solvers.manufactured:Manufactured",
}
