"""Bundles and run directories: the record, the files, the model they describe."""
