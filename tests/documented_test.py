"""Every public name has a docstring and stands on a page of the API reference."""

import dataclasses
import importlib
import inspect
import re
from functools import partial
from pathlib import Path

import pytest
from generated import pages

import kd

ROOT = Path(__file__).parents[1]
PACKAGES = ("kd", "kd.losses", "kd.objectives", "kd.teachers", "kd.models")
PAGES = "".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))


def public(package: str) -> dict[str, object]:
    """The public functions and classes of a package by name."""
    module = importlib.import_module(package)
    values = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {
        name: value
        for name, value in values.items()
        if callable(value) and getattr(value, "__module__", "").startswith("kd")
    }


def documented(value: object) -> bool:
    """Whether a docstring was written, and is not what a dataclass makes of its fields."""
    text = inspect.getdoc(value.func if isinstance(value, partial) else value) or ""
    return bool(text) and not text.startswith(f"{getattr(value, '__name__', '?')}(")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    assert not [name for name, value in public(package).items() if not documented(value)]


def test_every_public_method_of_a_public_class_has_a_docstring():
    for name in kd.__all__:
        value = getattr(kd, name)
        if not inspect.isclass(value) or not value.__module__.startswith("kd"):
            continue
        fields = (
            {f.name for f in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else ()
        )
        for method, member in vars(value).items():
            if method.startswith("_") or method in fields or not callable(member):
                continue
            if member.__module__ == value.__module__:
                assert inspect.getdoc(member), f"{name}.{method}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_stands_on_a_page(package):
    entries = set(re.findall(r"^::: ([\w.]+)", PAGES, re.MULTILINE))
    missing = [
        name
        for name, value in public(package).items()
        if f"{package}.{name}" not in entries and f"{value.__module__}.{name}" not in entries
    ]
    assert not missing, f"run `python tests/generated.py`, or add `::: {package}.NAME` to docs/api"


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_pages_are_up_to_date(path):
    assert path.read_text() == pages()[path], "run `python tests/generated.py`"


def test_every_named_size_of_a_network_stands_on_a_page():
    sizes = [name for name in dir(kd.models) if isinstance(getattr(kd.models, name), partial)]
    assert sizes and not [name for name in sizes if f"`{name}`" not in PAGES]


def test_no_page_has_a_name_that_does_not_exist():
    for entry in re.findall(r"^::: ([\w.]+)", PAGES, re.MULTILINE):
        package, _, name = entry.rpartition(".")
        module = importlib.import_module(package)
        assert hasattr(module, name) or importlib.import_module(entry), entry


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f"docs/{page.relative_to(ROOT / 'docs')}" in nav
    for notebook in (ROOT / "docs").rglob("*.ipynb"):
        assert f"docs/{notebook.relative_to(ROOT / 'docs').with_suffix('.md')}" in nav


def test_the_citation_has_the_version():
    version = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert version and version[1] == kd.__version__
