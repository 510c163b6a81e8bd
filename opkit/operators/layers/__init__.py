"""Layers that several operators share."""
