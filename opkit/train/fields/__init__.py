"""Training on the fields of a data file."""
