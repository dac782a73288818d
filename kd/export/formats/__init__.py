"""Export formats, one file each, found by scanning this package.

A file `NAME.py` that defines `FORMAT`, a `Format`, is offered as `kd export --format NAME`. The
command adds report.json, the model card, the golden vectors, the gates and the list of files; the
format writes its files and measures them. `kd export --help` imports every file, so imports at the
top of a file must be quick: jax and optional packages belong inside its functions.
"""

import argparse
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from kd.errors import InputError, unknown
from kd.export import gates

type Settings = Mapping[str, Any]
"""Values of options by name, such as `{"int8": True}`."""


@dataclasses.dataclass(frozen=True)
class Option:
    """A command-line option, `--NAME`, that one or more formats take.

    An option without a default (None or False) is an error for a format that does not take it; one
    with a default is ignored there.

    Attributes:
      name: of the option and of its value in `Settings`.
      help: one line for `kd export --help`.
      default: value of an option that is not given.
      arguments: further keyword arguments of `ArgumentParser.add_argument`.
      check: raises InputError for a value that is not valid.
      flag: the word on the command line; "" for `name`.
    """

    name: str
    help: str
    default: Any = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    check: Callable[[Any], None] = lambda value: None
    flag: str = ""

    @property
    def word(self) -> str:
        """The option as it is typed, such as "--int8"."""
        return f"--{self.flag or self.name}"


@dataclasses.dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
      help: a few words for `kd export --help`.
      card: what the file is, for the model card: "This is CARD, float32, of the student of ...".
      write: `write(source, directory, settings)` writes the files of a `kd.export.source.Source`
        into an existing directory, measures them, and returns a `kd.export.checks.Written`.
      extra: extra of pyproject.toml that it needs; "" for none.
      options: the options that it takes.
      check: raises InputError for settings that do not go together, before the run is read.
      suffix: what the settings add to the name of the default directory, such as "-int8".
      limits: gates of this format beside `gates.COMMON`.
      caveats: sentences that the card lists under its limits.
    """

    help: str
    card: str
    write: Callable[..., Any]
    extra: str = ""
    options: tuple[Option, ...] = ()
    check: Callable[[Settings], None] = lambda settings: None
    suffix: Callable[[Settings], str] = lambda settings: ""
    limits: Mapping[str, gates.Limit] = dataclasses.field(default_factory=dict)
    caveats: tuple[str, ...] = ()


def names() -> list[str]:
    """Names of all formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Format:
    """The format in the file of that name. Raises InputError where there is none."""
    if name not in names():
        raise unknown("format", name, names())
    return importlib.import_module(f"{__name__}.{name}").FORMAT


def options() -> list[Option]:
    """Options of all formats, each once.

    Raises:
      ValueError: two formats define different options of one name.
    """
    known: dict[str, Option] = {}
    for name in names():
        for option in load(name).options:
            if known.setdefault(option.name, option) != option:
                raise ValueError(
                    f"format {name} defines another option {option.word} than a format before it."
                )
    return list(known.values())


def limits() -> dict[str, gates.Limit]:
    """Limits of all formats by the name of their gate."""
    known = dict(gates.COMMON)
    for name in names():
        known |= load(name).limits
    return known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--format` and the options of all formats to the parser of `kd export`."""
    parser.add_argument(
        "--format",
        required=True,
        choices=names(),
        help="; ".join(f"{name}: {load(name).help}" for name in names()),
    )
    for option in options():
        flag: dict[str, Any] = {"action": "store_true"} if option.default is False else {}
        parser.add_argument(
            option.word,
            dest=option.name,
            default=option.default,
            help=f"{option.help} ({', '.join(_takers(option))})",
            **flag,
            **option.arguments,
        )


def settings(form: str, values: Settings) -> dict[str, Any]:
    """The settings of a format: its options from `values`, or their defaults.

    Raises:
      InputError: a value is not valid, the format does not take an option that is given, or its
        settings do not go together.
    """
    chosen = load(form)
    for option in options():
        value = values.get(option.name, option.default)
        if value is None or value is False:
            continue
        option.check(value)
        if option not in chosen.options and option.default in (None, False):
            raise InputError(
                f"--format {form} takes no {option.word}. Leave it out, or choose a format that "
                f"takes it: {', '.join(_takers(option))}."
            )
    complete = {option.name: values.get(option.name, option.default) for option in chosen.options}
    chosen.check(complete)
    return complete


def _takers(option: Option) -> list[str]:
    return [name for name in names() if option in load(name).options]
