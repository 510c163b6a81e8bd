"""Writers of other formats, one a file."""
