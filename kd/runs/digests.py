"""Digests of the arrays of a state, by which a checkpoint shows that it is what was saved."""

import hashlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from kd.devices import mesh
from kd.types import PyTree


class Mismatch(ValueError):
    """An array is not the one that was saved."""


def of(parts: Mapping[str, PyTree]) -> dict[str, dict[str, str]]:
    """A digest of each array by its path, for each part."""
    return {name: dict(_of_leaves(tree)) for name, tree in parts.items()}


def _of_leaves(tree: PyTree) -> Iterator[tuple[str, str]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = mesh.to_host(leaf)
        digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        yield jax.tree_util.keystr(path), digest.hexdigest()[:16]


def compare(recorded: Mapping[str, Mapping[str, str]], loaded: Mapping[str, PyTree]) -> None:
    """Raises Mismatch if an array is not the one that was saved. Unknown ones pass."""
    for name, tree in loaded.items():
        known = recorded.get(name, {})
        for path, digest in _of_leaves(tree):
            if known.get(path, digest) != digest:
                raise Mismatch(f"{name}{path} is not what was saved")
