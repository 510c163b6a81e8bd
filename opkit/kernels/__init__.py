"""Compute kernels, one op a folder; only operators import them."""
