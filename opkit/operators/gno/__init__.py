"""Operators made of kernel integrals over points."""
