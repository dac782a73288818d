"""Writes the files that list public names: `python tests/generated.py`.

They are type stubs of modules whose names are looked up at first use, pages of the API reference,
and the pages of the command and of the config's keys. losses_test.py and documented_test.py say
when they are out of date.
"""

import argparse
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from kd import objectives  # noqa: E402

HEAD = "# Written by tests/generated.py.\n"
PAGES = ("losses", "objectives", "teachers", "models")
"""Pages of docs/api that list all public names of a package; introductions are written by hand."""


def _imports(names: dict[str, str]) -> str:
    """In the order of ruff: by file, in a file names in capitals first."""
    order = sorted(names, key=lambda name: (names[name], not name.isupper(), name))
    return "".join(f"from kd.objectives.{names[n]} import {n} as {n}\n" for n in order)


def stubs() -> dict[Path, str]:
    """The content of each stub."""
    functions = "\ndef classes() -> dict[str, str]: ...\ndef functions() -> dict[str, str]: ...\n"
    return {
        ROOT / "kd/losses.pyi": HEAD + _imports(objectives.functions()),
        ROOT / "kd/objectives/__init__.pyi": HEAD + _imports(objectives.classes()) + functions,
    }


def _entries(package: str) -> list[str]:
    """A line for each public function or class; networks by their files."""
    module = importlib.import_module(f"kd.{package}")
    names = []
    for name in dir(module):
        value = getattr(module, name)
        ours = (getattr(value, "__module__", None) or "").startswith("kd.")
        if name.startswith("_") or not ours or inspect.ismodule(value):
            continue
        if package != "models":
            names.append(f"kd.{package}.{name}")
        elif inspect.isclass(value):
            names.append(f"{value.__module__}.{name}")
    return [f"::: {name}" for name in sorted(names, key=lambda n: n.rpartition(".")[2].lower())]


def pages() -> dict[Path, str]:
    """The content of each page: the introduction that it has, and all entries."""
    content = {}
    for package in PAGES:
        path = ROOT / f"docs/api/{package}.md"
        introduction = re.split(r"^::: ", path.read_text(), maxsplit=1, flags=re.MULTILINE)[0]
        content[path] = introduction + "\n\n".join(_entries(package)) + "\n"
    return content | {ROOT / "docs/command.md": command(), ROOT / "docs/config.md": config()}


COMMAND = """# The command

Written from the command's own help by `python tests/generated.py`. In a clone write `uv run kd`.
Exit statuses are [here](runs.md#stop-and-go-on).
"""


def command() -> str:
    """A section for each verb of `kd`, with a table of its arguments."""
    from kd.cli.parser import find_verbs, make_parser

    verbs = find_verbs()
    parser = make_parser(list(verbs))
    choices = next(action.choices for action in parser._actions if action.dest == "verb")
    return COMMAND + "".join(
        f"\n## kd {name}\n\n{_wrapped(verbs[name].DESCRIPTION)}\n\n" + _arguments(choices[name])
        for name in verbs
    )


def _arguments(verb: argparse.ArgumentParser) -> str:
    """The table of a verb's arguments; those of a group below its title and description.

    Raises ValueError for an argument without help, which the table could not describe.
    """
    text = ""
    for group in verb._action_groups:
        actions = [a for a in group._group_actions if a.dest != "help"]
        if silent := [_usage(action) for action in actions if not action.help]:
            raise ValueError(f"{verb.prog}: no help for {', '.join(silent)}.")
        if actions and group.title not in ("positional arguments", "options"):
            text += (
                f"\n{_wrapped(f'**{group.title.capitalize()}.** {group.description or str()}')}\n\n"
            )
        if not text or (actions and group.title != "options"):
            text += "| | |\n|---|---|\n"
        for action in actions:
            words = " ".join(verb._get_formatter()._expand_help(action).split())
            words = words.replace("<", "&lt;").replace("|", "&#124;")
            text += f"| `{_usage(action)}` | {words} |\n"
    return text


def _usage(action: argparse.Action) -> str:
    """An argument as it is typed, such as `--jobs N`."""
    value = action.metavar or ("" if action.nargs == 0 else (action.dest or "").upper())
    if action.choices:
        value = ", ".join(map(str, action.choices))
    value = str(value) + (" ..." if action.nargs in ("+", "*") else "")
    name = action.option_strings[-1] if action.option_strings else ""
    return f"{name} {value}".strip()


def _wrapped(text: str) -> str:
    """A paragraph in lines of at most 100 columns."""
    return textwrap.fill(" ".join(text.split()), 100)


CONFIG = """# Keys of a config

Every key that a config may have, with its default. Written from `kd/config/defaults.py` by `python
tests/generated.py`. [Configs and runs](runs.md) shows how to set them. Sections with a `name` also
take the settings of the thing that it names, which its page in the [API](api/index.md) lists.
"""


def config() -> str:
    """The source of the defaults, comments included."""
    from kd.config import defaults

    source = Path(inspect.getfile(defaults)).read_text()
    text = CONFIG
    body = inspect.getsource(defaults.default).partition("c = ConfigDict()\n")[2]
    body = inspect.cleandoc(body.replace("    return c\n", "").rstrip())
    text += f"\n## A config\n\n```python\n{body}\n```\n"
    for name, title in SECTIONS.items():
        value = r"(\{[^\n]*\}|\{\n.*?^\})"
        found = re.search(rf'^{name} = {value}\n(?:"""(.*?)""")?', source, re.M | re.S)
        assert found, name
        doc = _wrapped(found[2] or "")
        text += f"\n## {title}\n\n" + (f"{doc}\n\n" if doc else "")
        text += f"```python\n{found[1]}\n```\n"
    return text


SECTIONS = {
    "DEVICES": "c.devices",
    "TEACHER": "c.teacher",
    "SOURCES": "c.teacher, of no run",
    "LABELS": "c.data",
    "INIT": "c.init",
    "ACCEPTANCE": "c.acceptance",
    "LIMITS": "c.acceptance, of classes",
}
"""Names of kd/config/defaults.py, and the sections of a config that they are."""


if __name__ == "__main__":
    for path, text in {**stubs(), **pages()}.items():
        path.write_text(text)
