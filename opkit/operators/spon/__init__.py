"""SPON: operators on finite-element spaces, multigrid or flat."""
