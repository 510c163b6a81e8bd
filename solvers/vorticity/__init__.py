"""Engines of the two-dimensional vorticity equation: compiled, and in array code."""
