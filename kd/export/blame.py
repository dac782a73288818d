"""Which layer of a network asks for something unusual: read from its StableHLO text."""

import re
from collections.abc import Iterator

OPERATION = re.compile(r'^(\s*).*?"?(?:stablehlo|chlo)\.([a-z0-9_]+)')
PLACE = re.compile(r"loc\((#loc\d*)\)\s*$")
NAME = re.compile(r'^(#loc\d*) = loc\("([^"]+)"', re.MULTILINE)

USUAL = set(
    "abs add broadcast_in_dim clamp compare concatenate constant convert convolution divide dot_general exponential "
    "log logistic maximum minimum multiply negate pad power reduce reduce_window reshape return rsqrt select slice "
    "sqrt subtract tanh transpose".split()
)
"""What networks are made of, and LiteRT has."""


def layer(name: str) -> str:
    """The layer in the name of JAX operations: that of `max;jit(f)/CNN/norm1_0/mul;...` is `CNN/norm1_0`."""
    for part in name.split(";"):
        path = [word for word in part.split("/") if "(" not in word]
        if len(path) > 1:
            return "/".join(path[:-1])
    return "the network"


def unusual(text: str) -> list[str]:
    """`operation in layer`, each once, for the operations that are not `USUAL`, in their order."""
    names = dict(NAME.findall(text))
    found = [
        f"{operation} in {layer(names.get(place, ''))}"
        for operation, place in _operations(text)
        if operation not in USUAL
    ]
    return list(dict.fromkeys(found))


def _operations(text: str) -> Iterator[tuple[str, str]]:
    """Operations and their places; that of one with a body of its own stands where the body ends."""
    open_ones: list[tuple[str, str]] = []
    for line in text.splitlines():
        place = PLACE.search(line)
        match = OPERATION.match(line)
        if match and not line.lstrip().startswith("}"):
            indent, operation = match.groups()
            if place:
                yield operation, place[1]
            else:
                open_ones.append((indent, operation))
        elif place and open_ones and re.match(rf"{open_ones[-1][0]}}}", line):
            yield open_ones.pop()[1], place[1]
