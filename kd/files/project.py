"""`kd init`: writes a new project, a copy of kd/template under another name."""

import importlib.util
import keyword
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from kd.errors import InputError
from kd.files.writing import refusals

TEMPLATE = Path(__file__).parents[1] / "template"
NAME = "my_project"
"""The name of the project in the template, in texts and paths."""

IGNORED = "/runs/\n__pycache__/\n"
"""The `.gitignore` of a project."""

TAKEN = ("configs", "experiments", "kd", "test", "tests", "runs")
"""Names that mean something else in a project."""


def write(directory: str) -> list[str]:
    """Writes the project completely or not at all.

    Args:
      directory: is created, or is empty. Its name is that of the project's package.

    Returns:
      the paths of the files, relative to the directory, sorted.

    Raises:
      InputError: a name that no package can have, or a directory that is not empty.
      RunError: the directory cannot be written.
    """
    target = Path(os.path.abspath(directory))  # noqa: PTH100  # as it is written: no link is followed
    name = target.name
    _check_name(name)
    with refusals(directory):
        _check_place(target, directory)
        created = _missing(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            place = target if target.exists() else target.parent
            with tempfile.TemporaryDirectory(prefix=".kd-init-", dir=place) as temporary:
                project = Path(temporary) / name
                _fill(project, name)
                files = sorted(
                    str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()
                )
                _move(project, target)
        except BaseException:
            if created:
                shutil.rmtree(created, ignore_errors=True)
            raise
    return files


def _check_name(name: str) -> None:
    """Raises InputError for a name that the project's package cannot have."""
    example = re.sub(r"\W+", "_", name).strip("_").lower()
    hint = f" Such as {example}." if example.isidentifier() and example != name else ""
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name):
        raise InputError(
            f"{name!r} cannot be the name of a Python package: expected letters, digits and "
            f"underscores.{hint}"
        )
    taken = name in TAKEN or name in sys.stdlib_module_names
    if taken or (name != NAME and _is_installed(name)):
        raise InputError(
            f"{name!r} is already the name of a module, which the project's package would hide or "
            f"be hidden by. Choose another, such as {name}_project."
        )


def _is_installed(name: str) -> bool:
    """Whether a package of this name can be imported from elsewhere than the working directory."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # a directory without __init__.py is none
        return False
    return Path.cwd() not in Path(spec.origin).parents


def _check_place(target: Path, directory: str) -> None:
    """Raises InputError if something is there that is no empty directory."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise InputError(f"{directory} exists and is no directory. Choose another name.")
    if any(target.iterdir()):
        raise InputError(f"{directory} exists and is not empty. Choose another name, or empty it.")


def _missing(target: Path) -> Path | None:
    """The outermost directory that has to be created, None if all are there."""
    missing = [path for path in (target, *target.parents) if not path.exists()]
    return missing[-1] if missing else None


def _fill(project: Path, name: str) -> None:
    """Writes the files of the template, with the project's name in place of the template's."""
    for source in sorted(TEMPLATE.rglob("*")):
        relative = source.relative_to(TEMPLATE)
        if source.is_file() and "__pycache__" not in relative.parts:
            path = project / str(relative).replace(NAME, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.read_text().replace(NAME, name))
    (project / ".gitignore").write_text(IGNORED)


def _move(project: Path, target: Path) -> None:
    """Moves a complete project to its place, an empty directory or none."""
    if not target.exists():
        project.rename(target)
        return
    moved: list[Path] = []
    try:
        for path in sorted(project.iterdir()):
            moved.append(path.rename(target / path.name))
    except BaseException:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
