"""Rubber with a void: plane stress, and incompressible plane strain."""
