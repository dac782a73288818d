"""What predictions are worth, in NumPy."""
