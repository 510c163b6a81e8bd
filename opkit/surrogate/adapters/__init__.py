"""Kinds of input that a surrogate takes, and what it refuses."""
