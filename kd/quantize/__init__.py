"""Quantization-aware training: networks that compute on the integer grids of deployment."""
