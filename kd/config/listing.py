"""The lists of `kd configs` and `kd experiments`: what ships with kd, a line or a page each."""

import re

from kd.config import shipped
from kd.config.loading import module_of


def lines(kind: str) -> str:
    """A line for each shipped file: `kd:NAME` and the first sentence of its docstring.

    Reads the files, and executes none.
    """
    names = shipped.names(kind)
    width = max(map(len, names), default=0) + len(shipped.PREFIX)
    sentences = [_first_sentence(shipped.described(name, kind)) for name in names]
    return "\n".join(
        f"{shipped.PREFIX + name:{width}}  {sentence}"
        for name, sentence in zip(names, sentences, strict=True)
    )


def page(name: str, kind: str) -> str:
    """The docstring of a shipped file, its arguments with their defaults, and where it is.

    Args:
      name: `digits` or `kd:digits`.
      kind: "config" or "experiment".

    Raises:
      InputError: an unknown name.
    """
    file = shipped.find(name, kind)
    parts = [_with_names(shipped.described(name, kind))]
    if defaults := getattr(module_of(shipped.PREFIX + file.stem, kind), "DEFAULTS", {}):
        width = max(map(len, defaults))
        parts.append("Arguments, with their defaults:")
        parts[-1] += "".join(f"\n  {key:{width}}  {value!r}" for key, value in defaults.items())
    parts.append(f"File: {file}")
    return "\n\n".join(parts)


def _first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<!\bal\.)(?<=[.!?])\s", paragraph, maxsplit=1)[0]


def _with_names(text: str) -> str:
    """A docstring whose commands work everywhere: `kd:NAME` in place of paths of a clone."""
    text = re.sub(r"\buv run kd\b", "kd", text)
    for kind in shipped.FUNCTIONS:
        for name in shipped.names(kind):
            text = re.sub(rf"\b{kind}s/{name}\.py\b", shipped.PREFIX + name, text)
    return text
