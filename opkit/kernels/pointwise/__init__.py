"""Layers that act on one point at a time, in blocks that stay in the cache."""
