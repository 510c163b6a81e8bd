"""Finite elements on triangles and tetrahedra with FEniCSx (extra ``fem``).

Only `stack` imports dolfinx. Meshes are plain arrays (`simplex_mesh`), so that data
files, operators and plots need no dolfinx.
"""
