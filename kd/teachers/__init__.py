"""Teachers: where the target outputs come from."""
