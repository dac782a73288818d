"""The C program on its processor: cross-compiled, measured and run in an emulator."""
