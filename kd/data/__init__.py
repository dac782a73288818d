"""Data sets, one file each, and what is done to their examples."""
