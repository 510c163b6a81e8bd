"""Fourier transforms on periodic grids, and how far a flow can be predicted."""
