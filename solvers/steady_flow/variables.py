"""Names of the variables of steady flow."""

VELOCITY = ("velocity_x", "velocity_y")
