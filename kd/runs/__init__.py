"""Runs on disk: written, read back, compared."""
