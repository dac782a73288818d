"""The sections of a report, one file each, found by scanning this package.

A file defines

    TITLE       the heading
    ORDER       its place: sections are shown in ascending order
    measure     `measure(run)`: entries of the run in report.json, from a `kd.report.run.Run`; dicts
                are merged into dicts, so that a section can add to `networks` or `teacher`.
                `run.networks` is None where only stored predictions are reported
    show        `show(content)`: the blocks of the section, from the run's entries; none hides it
    conclude    `conclude(content)`: sentences for the top of the page

or, for a section on all runs of the report, in place of `measure` and `show`

    compare     `compare(runs, contents)`: entries of report.json, from all runs and their entries
    show_all    `show_all(content)`: the blocks, from the content of report.json

All functions are optional. Imports of jax belong inside `measure`, so that reports of stored
predictions are quick.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kd.report.blocks import Block

type Content = dict[str, Any]


class Section(NamedTuple):
    """A section; see the package's documentation."""

    name: str
    title: str
    order: int
    measure: Callable[[Any], Content]
    show: Callable[[Content], list[Block]]
    conclude: Callable[[Content], Iterable[str]]
    compare: Callable[[Any, list[Content]], Content]
    show_all: Callable[[Content], list[Block]]


def load() -> list[Section]:
    """All sections in their order."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(map(_section, names), key=lambda section: (section.order, section.name))


def _section(name: str) -> Section:
    module = importlib.import_module(f"{__name__}.{name}")
    return Section(
        name,
        module.TITLE,
        module.ORDER,
        getattr(module, "measure", lambda run: {}),
        getattr(module, "show", lambda content: []),
        getattr(module, "conclude", lambda content: ()),
        getattr(module, "compare", lambda runs, contents: {}),
        getattr(module, "show_all", lambda content: []),
    )
