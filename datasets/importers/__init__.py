"""Readers of other formats, one a file; `opkit.datasets.importing` uses them."""
