"""Time-harmonic waves: the Helmholtz equation outside of an obstacle."""
