"""Distributions of inputs that several PDEs share."""
