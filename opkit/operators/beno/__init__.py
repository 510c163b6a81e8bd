"""BENO: elliptic problems with data on a boundary curve, by message passing."""
