"""Writes the stubs of modules whose names are looked up at first use, for type checkers and
editors: `python tests/stubs.py`. losses_test.py says when they are out of date.
"""

from pathlib import Path

from kd import objectives

ROOT = Path(__file__).parents[1] / "kd"
HEAD = "# Written by tests/stubs.py.\n"


def _imports(names: dict[str, str]) -> str:
    """In the order of ruff: by file, in a file names in capitals first."""
    order = sorted(names, key=lambda name: (names[name], not name.isupper(), name))
    return "".join(f"from kd.objectives.{names[n]} import {n} as {n}\n" for n in order)


def stubs() -> dict[Path, str]:
    """The content of each stub."""
    functions = "\ndef classes() -> dict[str, str]: ...\ndef functions() -> dict[str, str]: ...\n"
    return {
        ROOT / "losses.pyi": HEAD + _imports(objectives.functions()),
        ROOT / "objectives" / "__init__.pyi": HEAD + _imports(objectives.classes()) + functions,
    }


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text)
