"""Quadratic elements on structured grids of quadrilaterals, for flow and solids."""
