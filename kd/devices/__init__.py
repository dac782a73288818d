"""Many networks on many devices: meshes, pmap, processes, precision, the compilation cache."""
