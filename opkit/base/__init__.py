"""What every room stands on: files, safe parsing, plain numerics without a PDE."""
