"""The training loop and what fields and equations share."""
