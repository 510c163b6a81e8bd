"""One linear second-order PDE on a square: formulas, domain, size, jets, batches."""

SIDES = ("left", "right", "bottom", "top")
"""Names of the sides of the square, in the order of a geometry's pieces."""
