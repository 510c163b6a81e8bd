"""Readers of other formats, one per file; `importers.convert` uses them."""
