"""Certificates: whether a network's class is constant over a ball around an image."""
