"""Steady incompressible flow through pipes and channels of varying shape."""
