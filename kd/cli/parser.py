"""The parser of the command: it finds the verbs, and what it refuses it answers with examples.

`kd` alone prints the overview and exits with 0: nothing was asked for that was not done. A verb
whose arguments are missing prints commands to try, and exits with 2.
"""

import argparse
import difflib
import importlib
import pkgutil
import re
import shutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from kd import __version__, cli
from kd.errors import unknown
from kd.files import escaping

NOT_VERBS = ("main", "parser")
"""Files of kd/cli that are no verbs."""

EXAMPLES = (
    ("kd run --config kd:digits", "train teachers and a student: a minute, no download"),
    ("kd report runs/digits", "what the student is worth: a page that opens offline"),
    ("kd init my_project", "a project of your own: config, loss, data"),
)
"""Commands to try first, each with what it does."""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors say what was meant and what to try.

    Attributes:
      examples: commands to try, each with what it does.
      words: the arguments of the command, in which misspelt options are looked for.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any):
        epilog = "\n\n".join(filter(None, (kwargs.pop("epilog", None), tries(examples))))
        super().__init__(*args, epilog=epilog, formatter_class=_Formatter, **kwargs)
        self.examples = examples
        self.words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Prints the message with what may be meant and what to try; exits with 2."""
        head = f"{self.prog}: {self._misspelt() or message + self._forgotten(message)}"
        lines = [escaping.message(head), f"`{self.prog} --help` describes everything."]
        if self.examples and "are required" in message:
            lines[1:1] = ["", tries(self.examples), ""]
        self.exit(2, "\n".join(lines) + "\n")

    def _misspelt(self) -> str:
        """Says which option is unknown and what may have been meant; "" if all are known."""
        options = [o for o in self._option_string_actions if o.startswith("--")]
        for word in self.words:
            head, dot, rest = word.partition("=")[0].partition(".")
            if head.startswith("--") and head not in options:
                spelled = "--" + head.removeprefix("--").replace("-", "_")
                near = difflib.get_close_matches(spelled, options, n=1)
                hint = f" Did you mean {near[0]}{dot}{rest}?" if near else ""
                return f"unexpected {word}.{hint}"
        return ""

    def _forgotten(self, message: str) -> str:
        """Suggests `--config` for the word that looks like a config, where it was left out."""
        looks = [word for word in self.words[1:] if word.startswith("kd:") or ".py" in word]
        if "required: --config" in message and looks:
            return f". Did you mean --config {looks[0]}?"
        return ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            text = str(unknown("value", str(value), map(str, action.choices)))
            raise argparse.ArgumentError(action, text)


class _Formatter(argparse.HelpFormatter):
    """Fills each paragraph of a description, and leaves indented lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = []
        for part in text.split("\n\n"):
            lines = part.splitlines()
            if any(line.startswith("  ") for line in lines):
                parts.append("\n".join(indent + line for line in lines))
            else:
                parts.append(super()._fill_text(part, width, indent))
        return "\n\n".join(parts)


def tries(examples: Sequence[tuple[str, str]]) -> str:
    """The examples as text, `Try:` and a line or two for each; "" if there are none."""
    if not examples:
        return ""
    width = max(len(command) for command, _ in examples)
    columns = shutil.get_terminal_size().columns
    narrow = width + max(len(what) for _, what in examples) + 4 > columns
    lines = [
        f"  {command}\n      {what}" if narrow else f"  {command:{width}}  {what}"
        for command, what in examples
    ]
    return "\n".join(["Try:", *lines])


def make_parser(arguments: Sequence[str]) -> Parser:
    """The parser of the command, with a subparser for each verb.

    Only a verb that occurs in the arguments gets its own: the others just show in `kd --help`.
    """
    parser = Parser(
        prog="kd",
        description="Knowledge distillation in JAX.",
        allow_abbrev=False,
        examples=EXAMPLES,
    )
    parser.words = arguments
    parser.add_argument("--version", action="version", version=f"kd {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, module in find_verbs().items():
        verb = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=getattr(module, "EPILOG", None),
            allow_abbrev=False,
            examples=getattr(module, "EXAMPLES", ()),
        )
        if name in arguments:
            verb.words = arguments
            module.add_arguments(verb)
            if getattr(module, "READS_RUNS", True):
                add_trust(verb)
        verb.set_defaults(module=module, parser=verb)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a call, with `module` of the verb and `overrides`, what no option took.

    Raises:
      InputError: an unknown verb.
      SystemExit: an unknown option or value, with 2; help was asked for, with 0.
    """
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb == "help" or not arguments:
        arguments = [*arguments[1:2], "--help"]
        verb = arguments[0]
    if verb and not verb.startswith("-") and verb not in find_verbs():
        raise unknown("verb", verb, find_verbs())
    parser = make_parser(arguments)
    options, options.overrides = parser.parse_known_args(arguments)
    takes = getattr(options.module, "OVERRIDES", False)
    for word in options.overrides:
        if not takes or (word.startswith("--") and not word.startswith("--config.")):
            options.parser.error(f"unexpected {word}")
    return options


def check_buckets(options: argparse.Namespace) -> None:
    """Raises InputError for an argument that names a bucket which nothing here can read."""
    for value in vars(options).values():
        for word in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(word, str) and (at := re.match(r"(\w+)://", word)):
                importlib.import_module("kd.runs.buckets").require(at[1])


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust` to a verb that reads runs."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="import what the configs stored in run directories name in this package, such as a "
        "network of yours; without it only kd's own names are (may be repeated)",
    )


def find_verbs() -> dict[str, ModuleType]:
    """The verbs' modules by name, in the order of `kd --help`: the files of kd/cli."""
    names = [file.name for file in pkgutil.iter_modules(cli.__path__)]
    modules = [importlib.import_module(f"kd.cli.{n}") for n in names if n not in NOT_VERBS]
    modules.sort(key=lambda module: module.ORDER)
    return {module.__name__.rpartition(".")[2].rstrip("_"): module for module in modules}
