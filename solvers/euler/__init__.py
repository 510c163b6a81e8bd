"""Compressible Euler flow past airfoils."""
