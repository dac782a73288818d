"""Many networks on many devices: meshes, pmap, processes, precision, compiled programs."""
