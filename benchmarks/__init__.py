"""What measures opkit; a package, so that one installed by the name does not count."""
