"""One linear second-order PDE on a square: formulas, domain, size, jets, batches."""
