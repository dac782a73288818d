"""Writes the files that list public names: `python tests/generated.py`.

They are type stubs of modules whose names are looked up at first use, and pages of the API
reference. losses_test.py and documented_test.py say when they are out of date.
"""

import importlib
import inspect
import re
import sys
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
    return content


if __name__ == "__main__":
    for path, text in {**stubs(), **pages()}.items():
        path.write_text(text)
