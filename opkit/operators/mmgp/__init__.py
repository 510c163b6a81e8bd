"""Gaussian processes on shapes: meshes morphed onto a common one, and moving fronts."""
