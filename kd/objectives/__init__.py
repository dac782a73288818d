"""Objectives: one file per method, pure functions of arrays on top, the Flax module below.

The classes are attributes of this package, each imported from its file at first use:
`kd.objectives.KD` is the class KD of `kd.objectives.kd`. The pure functions are attributes of
`kd.losses` in the same way. Both read the files of this directory, so a new method is one new file.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from kd.errors import unknown


@cache
def classes() -> dict[str, str]:
    """The file of each public class, by the class's name; no file is imported."""
    return {node.name: file for file, node in _definitions() if isinstance(node, ast.ClassDef)}


@cache
def functions() -> dict[str, str]:
    """The file of each pure function, by the function's name: public, and no argument is a View."""
    return {
        node.name: file
        for file, node in _definitions()
        if isinstance(node, ast.FunctionDef)
        and not any(a.annotation and ast.unparse(a.annotation) == "View" for a in node.args.args)
    }


def _definitions() -> list[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """Public classes and functions at the top level of every file, and the file's name."""
    files = [path for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"]
    return [
        (path.stem, node)
        for path in sorted(files)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in classes():
        # `from kd.objectives import ce` gets here first, and then imports the file.
        raise AttributeError(str(unknown("class of kd.objectives", name, classes())))
    return getattr(import_module(f"{__name__}.{classes()[name]}"), name)


def __dir__() -> list[str]:
    return sorted(classes())
