"""Runs on disk: writing, reading and comparing them."""
