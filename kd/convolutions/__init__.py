"""Convolutions on CPUs by oneDNN inside XLA's programs, or by XLA itself.

Programs are traced, differentiated and batched with jax's own convolution. Only its translation to
XLA differs, in programs that are called within `lowering.compiled_by`: so whatever reads a network
sees the same program under both settings.
"""
