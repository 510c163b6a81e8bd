"""Figures of data files and runs."""
