"""Faster loops for generated kernels, in plain C, with results that are equal to the bit.

The generated ones take 7 to 30 instructions a multiply-accumulate: they compute an index, and for
convolutions test in 64 bits whether it lies in the map, for each. Those of `fast_kernels.c` read an
input once for four outputs, and clip a kernel to the map once for each place.
"""

import re
from pathlib import Path

SOURCE = Path(__file__).parent / "fast_kernels.c"
FUNCTION = re.compile(
    r"^(?:/\*(?:[^*]|\*(?!/))*\*/\n)?(?P<head>(?P<helper>static inline )?\w+ (?P<name>\w+)"
    r"\([^)]*\)) \{\n.*?^\}\n",
    re.MULTILINE | re.DOTALL,
)
"""A function with the comment before it."""


def replaced(generated: str, prefix: str = "kd_net") -> str:
    """The C file of generated kernels with the loops of `fast_kernels.c`.

    A function whose parameters are not the expected ones stays as it was generated.

    Args:
      generated: the file.
      prefix: of the names of its functions.
    """
    ours = list(FUNCTION.finditer(SOURCE.read_text().replace("kd_net_", f"{prefix}_")))
    fast = {_words(match["head"]): match[0] for match in ours if not match["helper"]}
    helpers = {match["name"]: match[0] for match in ours if match["helper"]}
    used = []

    def better(match: re.Match[str]) -> str:
        text = fast.get(_words(match["head"]))
        if text is None:
            return match[0]
        used.append(text)
        return text

    result = FUNCTION.sub(better, generated)
    needed = [text for name, text in helpers.items() if f"{name}(" in "".join(used)]
    if needed:
        first = min(result.index(text) for text in used)
        result = result[:first] + "\n".join([*needed, result[first:]])
    return result


def _words(head: str) -> str:
    return re.sub(r"\s+", " ", head)
