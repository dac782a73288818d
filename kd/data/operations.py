"""Texts that name operations with literal arguments, such as "crop(4)|flip(0.5)"."""

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from kd import ranges
from kd.errors import InputError, unknown
from kd.registry import find_in, settings
from kd.values import of_type


class Grammar(NamedTuple):
    """What the operations of a text are.

    Attributes:
      key: of the config, whose value the text is.
      module: whose functions go by their bare names.
      kind: what an operation is called in messages, a key of `kd.names.kinds.SORTS`.
      returns: the return annotation of the module's operations.
      takes: the arguments that every operation gets before its settings.
      common: settings that every operation has beside those that it takes, with their defaults.
      limits: annotations of the common settings, see `kd.ranges`.
      example: a text, for messages.
      separator: of the operations, `|` or `or`.
    """

    key: str
    module: str
    kind: str
    returns: Any
    takes: tuple[str, ...]
    common: Mapping[str, Any] = {}
    limits: Mapping[str, Any] = {}
    example: str = "crop(4)|flip"
    separator: str = "|"

    def parse(self, text: str) -> list[tuple[Callable, dict[str, Any]]]:
        """The operations of a text in order: each with its settings bound, and the common ones.

        The text is parsed, never executed.

        Raises:
          InputError: it cannot be parsed, names an unknown operation or an argument that an
            operation does not take.
        """
        if not text.strip():
            return []
        try:
            node = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            raise self._unreadable(text, text) from None
        return [self._bound(node, text) for node in self._divided(node)]

    def _divided(self, node: ast.expr) -> list[ast.expr]:
        """The operations of an expression that joins them."""
        if self.separator == "or":
            joined = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)
            return list(node.values) if joined else [node]  # pyrefly: ignore
        nodes = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            nodes.append(node.right)
            node = node.left
        return [node, *reversed(nodes)]

    def _bound(self, node: ast.expr, text: str) -> tuple[Callable, dict[str, Any]]:
        term = ast.unparse(node)
        callee = node.func if isinstance(node, ast.Call) else node
        name = ast.unparse(callee)
        if not all(part.isidentifier() for part in name.split(".")):
            raise self._unreadable(term, text)
        args, kwargs = [], {}
        if isinstance(node, ast.Call):
            try:
                args = [ast.literal_eval(arg) for arg in node.args]
                kwargs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
            except ValueError:
                raise InputError(
                    f"{self.key} {text!r}: arguments in {term!r} must be plain numbers, strings or "
                    "tuples."
                ) from None
        operation = find_in(self.module, self.kind, name, self.returns)
        signature, count = inspect.signature(operation), len(self.takes)
        if len(signature.parameters) < count:
            raise InputError(
                f"{self.key} {text!r}: {name} must take {self._arguments()}, "
                f"{name}({', '.join(self.takes)}, ...), not {name}{signature}."
            )
        names = list(signature.parameters)[count:]
        common = {k: kwargs.pop(k) for k in self.common if k in kwargs and k not in names}
        for keyword in kwargs:
            if keyword not in names:
                raise unknown(f"setting of {self.kind} {name}", keyword, [*names, *self.common])
        try:
            bound = signature.bind(*[None] * count, *args, **kwargs).arguments
        except TypeError as error:
            raise InputError(
                f"{self.key} {text!r}: {term!r}: {error}. {name} takes "
                f"{', '.join([*names, *self.common]) or 'no argument'}."
            ) from None
        options = {key: value for key, value in bound.items() if key in names}
        options = settings(operation, options, f"{self.key}: {name}")
        for key, value in common.items():
            common[key] = of_type(f"{self.key}: {name}.{key}", self.common[key], value)
            ranges.check(f"config.{self.key}: {name}.{key}", self.limits[key], common[key])
        return partial(operation, **options), {**self.common, **common}

    def _arguments(self) -> str:
        """Such as "a key and an image"."""
        nouns = [f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in self.takes]
        return f"{', '.join(nouns[:-1])} and {nouns[-1]}"

    def _unreadable(self, term: str, text: str) -> InputError:
        return InputError(
            f"{self.key} {text!r}: cannot read {term!r}. Expected operations joined by "
            f"{self.separator!r}, such as {self.example!r}."
        )
