"""Dotted names in configs: whether they may bring in code, and what kind of thing they must be."""
