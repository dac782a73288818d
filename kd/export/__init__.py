"""A finished student as a file for a device, with the evidence that it is the same network."""
