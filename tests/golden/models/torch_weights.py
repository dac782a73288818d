"""Deterministic weights for a PyTorch state dict, so that a golden file need not store them."""

import json
import zlib
from typing import Any

import numpy as np


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of the entry `name`, float32 of `shape`, drawn from a generator seeded by the name
    alone.

    Matrices and kernels are normal with He scale; scales and variances of BatchNorm lie in [0.5,
    1.5], means and biases in [-0.2, 0.2]; `num_batches_tracked` is 0.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros((), np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        fan_in = int(np.prod(shape[1:]))
        return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    if name.endswith(("running_var", "weight")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return rng.uniform(-0.2, 0.2, shape).astype(np.float32)


def state_dict(golden: Any) -> dict[str, np.ndarray]:
    """{name: array} for the entries `names` and `shapes` (JSON) of a golden file."""
    names, shapes = json.loads(str(golden["names"])), json.loads(str(golden["shapes"]))
    return {n: weight(n, tuple(s)) for n, s in zip(names, shapes, strict=True)}
