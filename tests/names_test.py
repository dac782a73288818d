"""Names in `kd` say what a thing is: nouns of the field, not pronouns or participles."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VAGUE = {"own", "found", "there", "given", "made", "told", "whole", "apiece", "apart"}


def bound(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the line and name of everything that a file defines: functions, classes, arguments,
    targets of assignments, loops, `with` and `match`, aliases of imports.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


def test_no_name_is_vague():
    vague = []
    for file in sorted((ROOT / "kd").rglob("*.py")):
        names = bound(ast.parse(file.read_text()))
        vague += [f"{file}:{line}: {name}" for line, name in names if name in VAGUE]
    assert not vague, "\n".join(vague)
