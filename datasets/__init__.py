"""Data files: the format (SPEC.md), its writer and reader, importers and exporters."""
