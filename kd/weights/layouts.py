"""PyTorch's names and layouts of the arrays of our networks, decided by the name of each array."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
"""Flax's names of a layer's arrays, and PyTorch's. Any other name is that of a parameter which
belongs to no layer, such as a class token or a table of positions.
"""
_PART = re.compile(r"\[(\d+) of (\d+)\]")

type Path = tuple[str, ...]
"""Of a variable in its tree: collection, layers, and the name of the array."""

type Rules = Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Pairs of a regular expression and its replacement, in the order of their application."""


class Source(NamedTuple):
    """Where PyTorch keeps a variable: the array `name`, or of `parts` equal parts of its rows that
    of number `part`, as query, key and value in one matrix.
    """

    name: str
    part: int = 0
    parts: int = 1


def source(path: Path, rules: Rules) -> Source:
    """PyTorch's place of a variable.

    Args:
      path: of the variable.
      rules: applied to the names of its layers, joined by dots, without the name of the array; for
        a parameter without a layer's name to its own name, too. What results is PyTorch's name of
        the layer. `{leaf}` in it is PyTorch's name of the array, which otherwise follows after a
        dot. `[1 of 3]` says the second third of the rows.
    """
    _, *layers, leaf = path
    known = _LEAVES.get(leaf)
    name = ".".join(layers if known else (*layers, leaf))
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    part = _PART.search(name)
    name = _PART.sub("", name)
    if known:
        name = name.replace("{leaf}", known) if "{leaf}" in name else f"{name}.{known}".lstrip(".")
    return Source(name, int(part[1]), int(part[2])) if part else Source(name)


def shape_in_torch(path: Path, shape: tuple[int, ...], parts: int = 1) -> tuple[int, ...]:
    """Shape of PyTorch's array: [out, in, ...] for a kernel [..., in, out], else the same; `parts`
    times the rows.
    """
    if _transposes(path, len(shape)):
        shape = (*shape[:-3:-1], *shape[:-2])
    return (parts * shape[0], *shape[1:]) if parts > 1 else tuple(shape)


def shape_here(path: Path, shape: tuple[int, ...], parts: int = 1) -> tuple[int, ...]:
    """The inverse of `shape_in_torch`; rows that cannot be divided stay as they are."""
    if parts > 1 and shape and shape[0] % parts == 0:
        shape = (shape[0] // parts, *shape[1:])
    return (*shape[2:], shape[1], shape[0]) if _transposes(path, len(shape)) else tuple(shape)


def from_torch(path: Path, where: Source, array: np.ndarray) -> np.ndarray:
    """The variable from PyTorch's array, in the memory layout of our networks, contiguous."""
    if where.parts > 1:
        array = np.split(array, where.parts)[where.part]
    if _transposes(path, array.ndim):
        array = array.transpose(*range(2, array.ndim), 1, 0)
    return np.ascontiguousarray(array)


def to_torch(
    sources: Mapping[Path, Source], variables: Mapping[Path, np.ndarray]
) -> dict[str, np.ndarray]:
    """PyTorch's arrays by name from all variables of a network: the inverse of `from_torch`."""
    parts: dict[str, dict[int, Any]] = {}
    for path, where in sources.items():
        array = variables[path]
        if _transposes(path, array.ndim):
            array = array.transpose(-1, -2, *range(array.ndim - 2))
        parts.setdefault(where.name, {})[where.part] = array
    joined = lambda arrays: np.concatenate([arrays[i] for i in sorted(arrays)])
    return {
        name: np.ascontiguousarray(arrays[0] if len(arrays) == 1 else joined(arrays))
        for name, arrays in parts.items()
    }


def _transposes(path: Path, rank: int) -> bool:
    """Whether the variable is a kernel: flax puts inputs and outputs last, PyTorch first. All
    others, such as embeddings [n, d] and positions [1, t, d], are the same in both.
    """
    return path[-1] == "kernel" and rank > 1
