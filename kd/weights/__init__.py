"""Files of weights: PyTorch's, read without PyTorch, and ours, written for others to read."""
