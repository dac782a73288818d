"""Layers of a network whose operations LiteRT may lack, read from its StableHLO text."""

import re
from collections.abc import Iterator

OPERATION = re.compile(r'^(\s*).*?"?(?:stablehlo|chlo)\.([a-z0-9_]+)')
FUNCTION = re.compile(r"func\.func .*?@([\w.]+)\(")
CALL = re.compile(r"\bcall @([\w.]+)\(")
LOCATION = re.compile(r"loc\((#loc\d*)\)\s*$")
NAME = re.compile(r'^(#loc\d*) = loc\("([^"]+)"', re.MULTILINE)

USUAL = {
    *("abs", "add", "broadcast_in_dim", "clamp", "compare", "concatenate", "constant"),
    *("convert", "convolution", "divide", "dot_general", "exponential", "log"),
    *("logistic", "maximum", "minimum", "multiply", "negate", "pad", "power", "reduce"),
    *("reduce_window", "reshape", "return", "rsqrt", "select", "slice", "sqrt"),
    *("subtract", "tanh", "transpose"),
}
"""Operations of common networks, which LiteRT has."""


def layer(name: str) -> str:
    """The layer in a name of JAX operations: `CNN/norm1_0` of `max;jit(f)/CNN/norm1_0/mul;...`."""
    for part in name.split(";"):
        path = [word for word in part.split("/")[:-1] if "(" not in word]
        # A module that shares its scope with the one that it wraps appears twice in a row.
        path = [word for i, word in enumerate(path) if path[i - 1 : i] != [word]]
        if path:
            return "/".join(path)
    return "the network"


def unusual(text: str) -> list[str]:
    """`operation in layer`, each once, for the operations that are not `USUAL`, in their order."""
    names = dict(NAME.findall(text))
    callers: dict[str, str] = {}  # function of the text -> name of its first call
    matches = []
    for function, operation, location in _operations(text):
        name = names.get(location, "")
        if operation.startswith("@"):
            callers.setdefault(operation[1:], name)
        elif operation not in USUAL:
            matches.append((function, operation, name))
    lines = []
    for function, operation, name in matches:
        if "/" not in layer(name):
            name = callers.get(function, name)
        lines.append(f"{operation} in {layer(name)}")
    return list(dict.fromkeys(lines))


def _operations(text: str) -> Iterator[tuple[str, str, str]]:
    """Function, operation (or `@function`, a call) and location; the location of an operation with
    a body is on the line where the body ends.
    """
    function, unfinished = "", []
    for line in text.splitlines():
        location = LOCATION.search(line)
        if match := FUNCTION.search(line):
            function = match[1]
        elif (match := CALL.search(line)) and location:
            yield function, "@" + match[1], location[1]
        elif match := OPERATION.match(line):
            if location:
                yield function, match[2], location[1]
            else:
                unfinished.append(match.groups())
        elif location and unfinished and line.startswith(unfinished[-1][0] + "}"):
            yield function, unfinished.pop()[1], location[1]
