"""Plates with holes: a mesh for each sample, and plane linear elasticity on it."""
