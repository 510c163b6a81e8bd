"""Built-in cases, one YAML file each."""
