"""Which layer of a network asks for something unusual: read from its StableHLO text."""

import re
from collections.abc import Iterator

OPERATION = re.compile(r'^(\s*).*?"?(?:stablehlo|chlo)\.([a-z0-9_]+)')
FUNCTION = re.compile(r"func\.func .*?@([\w.]+)\(")
CALL = re.compile(r"\bcall @([\w.]+)\(")
PLACE = re.compile(r"loc\((#loc\d*)\)\s*$")
NAME = re.compile(r'^(#loc\d*) = loc\("([^"]+)"', re.MULTILINE)

USUAL = {
    *("abs", "add", "broadcast_in_dim", "clamp", "compare", "concatenate", "constant"),
    *("convert", "convolution", "divide", "dot_general", "exponential", "log"),
    *("logistic", "maximum", "minimum", "multiply", "negate", "pad", "power", "reduce"),
    *("reduce_window", "reshape", "return", "rsqrt", "select", "slice", "sqrt"),
    *("subtract", "tanh", "transpose"),
}
"""What networks are made of, and LiteRT has."""


def layer(name: str) -> str:
    """The layer in the name of JAX operations: that of `max;jit(f)/CNN/norm1_0/mul;...` is
    `CNN/norm1_0`.
    """
    for part in name.split(";"):
        path = [word for word in part.split("/")[:-1] if "(" not in word]
        if path:
            return "/".join(path)
    return "the network"


def unusual(text: str) -> list[str]:
    """`operation in layer`, each once, for the operations that are not `USUAL`, in their order."""
    names = dict(NAME.findall(text))
    called: dict[str, str] = {}  # function of the text -> where it is called
    found = []
    for function, operation, place in _operations(text):
        name = names.get(place, "")
        if operation.startswith("@"):
            called.setdefault(operation[1:], name)
        elif operation not in USUAL:
            found.append((function, operation, name))
    told = []
    for function, operation, name in found:
        if "/" not in layer(name):
            name = called.get(function, name)
        told.append(f"{operation} in {layer(name)}")
    return list(dict.fromkeys(told))


def _operations(text: str) -> Iterator[tuple[str, str, str]]:
    """Function, operation (or `@function`, a call) and place; that of one with a body of its own
    stands where the body ends.
    """
    function, open_ones = "", []
    for line in text.splitlines():
        place = PLACE.search(line)
        if match := FUNCTION.search(line):
            function = match[1]
        elif (match := CALL.search(line)) and place:
            yield function, "@" + match[1], place[1]
        elif match := OPERATION.match(line):
            if place:
                yield function, match[2], place[1]
            else:
                open_ones.append(match.groups())
        elif place and open_ones and line.startswith(open_ones[-1][0] + "}"):
            yield function, open_ones.pop()[1], place[1]
