"""Transolver: attention among slices of the domain."""
