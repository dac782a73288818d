"""The stack that a function needs at most, from the call graphs that GCC writes."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

NODE = re.compile(r'node: \{ title: "([^"]*)" label: "((?:[^"\\]|\\.)*)"')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')
SIZE = re.compile(r"(\d+) bytes \(([\w,]+)\)")


class Bound(NamedTuple):
    """Bytes of stack.

    Attributes:
      bytes: of the deepest chain of calls; None where there is no bound: a function calls itself,
        or its frame has no fixed size.
      unknown: called functions whose frames the compiler did not see, such as those of libraries.
    """

    bytes: int | None
    unknown: list[str]


def bound(graphs: Iterable[Path], function: str) -> Bound:
    """The bound of a function, from the files `.ci` of `-fcallgraph-info=su`."""
    frames: dict[str, int | None] = {}
    calls: dict[str, set[str]] = {}
    for path in graphs:
        text = path.read_text()
        for title, label in NODE.findall(text):
            if size := SIZE.search(label):
                fixed = size[2] != "dynamic"  # "static", or "dynamic,bounded"
                frames[title] = int(size[1]) if fixed else None
        for caller, callee in EDGE.findall(text):
            calls.setdefault(caller, set()).add(callee)
    unknown: set[str] = set()

    def deepest(name: str, above: tuple[str, ...]) -> int | None:
        if name in above:
            return None
        if name not in frames:
            unknown.add(name)
            return 0
        below = [deepest(callee, (*above, name)) for callee in sorted(calls.get(name, ()))]
        frame = frames[name]
        if frame is None or any(depth is None for depth in below):
            return None
        return frame + max((depth for depth in below if depth is not None), default=0)

    return Bound(deepest(function, ()), sorted(unknown))
