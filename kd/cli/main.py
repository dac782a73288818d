"""The command `kd`: finds its verbs, parses arguments, and turns errors into exit statuses."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

from kd import __version__, cli
from kd.errors import InputError, RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
      arguments: what follows `kd`; by default `sys.argv[1:]`.

    Returns:
      what the verb returns, 0 for success; 1 if a run or a write to disk failed, 2 for invalid
      input, 130 if interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = make_parser(arguments)
    options, options.overrides = parser.parse_known_args(arguments)
    if options.overrides and not getattr(options.module, "OVERRIDES", False):
        parser.error(f"unexpected {' '.join(options.overrides)}")
    try:
        return options.module.act(options)
    except InputError as error:
        status, message = 2, str(error)
    except (RunError, OSError) as error:  # OSError: such as a full disk, or missing permissions
        status, message = 1, str(error)
    except KeyboardInterrupt:
        status, message = 130, "interrupted. The same command resumes from the last checkpoint."
    print(f"kd {options.verb}: {message}", file=sys.stderr)
    return status


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command, with a subparser for each verb.

    Only a verb that occurs in the arguments gets its own: the others just show in `kd --help`.
    """
    parser = argparse.ArgumentParser(
        prog="kd", description="Knowledge distillation in JAX.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"kd {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, module in find_verbs().items():
        verb = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=getattr(module, "EPILOG", None),
            allow_abbrev=False,
        )
        if name in arguments:
            module.add_arguments(verb)
        verb.set_defaults(module=module)
    return parser


def find_verbs() -> dict[str, ModuleType]:
    """The verbs' modules by name, in the order of `kd --help`: all files of kd/cli but this one."""
    names = [file.name for file in pkgutil.iter_modules(cli.__path__) if file.name != "main"]
    modules = [importlib.import_module(f"kd.cli.{name}") for name in names]
    modules.sort(key=lambda module: module.ORDER)
    return {module.__name__.rpartition(".")[2].rstrip("_"): module for module in modules}
