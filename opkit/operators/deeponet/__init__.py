"""DeepONet and POD-DeepONet: branch and trunk."""
