"""The libraries that compute convolutions on a CPU, to compare them in one process."""

import functools
from collections.abc import Generator
from contextlib import contextmanager

import jax

from kd.convolutions import library as onednn
from kd.convolutions import lowering
from kd.convolutions.lowering import ONEDNN, XLA

NAMES = {XLA: "XLA's", ONEDNN: "oneDNN's"}

_using: list[str] = []


@functools.cache
def available() -> list[str]:
    """The libraries that this machine has, XLA's own first and the one that kd chooses last."""
    if jax.default_backend() != "cpu":
        return [XLA]
    try:
        onednn.load()
    except onednn.Unavailable:
        return [XLA]
    return [XLA, ONEDNN]


def current() -> str:
    """The library in use: of `using`, or else the one that kd chooses here."""
    return _using[-1] if _using else available()[-1]


@contextmanager
def using(library: str | None = None) -> Generator[None]:
    """A context in which programs are compiled with a library's convolutions; None: `current`."""
    library = library or current()
    _using.append(library)
    try:
        with lowering.using(library):
            yield
    finally:
        _using.pop()
