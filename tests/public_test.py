"""The public names: what they are, that they are listed, and that they cost no import of jax."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

KD = Path(__file__).parents[1] / "kd"
NAMES = {
    "kd": "run load distill Run make_init make_step make_eval Weighted View Outputs Teacher",
    "kd.losses": "distill_kl",
    "kd.objectives": "CE KD DKD CRD",
    "kd.teachers": "cached ema ensemble frozen grouped none stack",
    "kd.models": "CNN MLP resnet8x4",
}
"""Functions and classes that users are told of; `dir` of a package may list more."""

SCRIPT = """
import importlib, inspect, json, pkgutil, sys

import kd
assert "jax" not in sys.modules, "import kd imports jax"

def listed(package):
    return sorted(name for name in dir(package) if not name.startswith("_"))

packages = {name: importlib.import_module(name) for name in sys.argv[1:]}
assert len(dir(kd.losses)) > 40 and len(dir(kd.teachers)) > 5
assert "jax" not in sys.modules, "the packages import jax, or listing their names does"
kd.models.mlp, kd.losses.logit_mse
assert not {"kd.models.vgg", "kd.objectives.crd"} & set(sys.modules), "imports more than it needs"
before = {k: {n: getattr(p, n) for n in listed(p)} for k, p in packages.items()}
for module in pkgutil.walk_packages(kd.__path__, "kd."):
    if module.name != "kd.__main__":
        importlib.import_module(module.name)
for package, values in before.items():
    now = packages[package]
    print(json.dumps([package, {n: inspect.ismodule(v) for n, v in values.items()},
                      [n for n, v in values.items() if getattr(now, n) is not v]]))
"""

HELP = """
import sys
from kd.cli.main import main
for verb in ([], ["run"], ["table"], ["prepare"]):
    try:
        main([*verb, "--help"])
    except SystemExit as status:
        assert not status.code
assert not {"jax", "numpy"} & set(sys.modules)
"""


def python(script: str, *arguments: str) -> str:
    """Returns what a script prints in a process of its own."""
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, cwd=KD.parent)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def public() -> dict[str, tuple[dict[str, bool], list[str]]]:
    """For each package the names that it lists, with whether the value is a module, and those whose
    value is another one after all submodules are imported.
    """
    lines = map(json.loads, python(SCRIPT, *NAMES).splitlines())
    return {package: (modules, changed) for package, modules, changed in lines}


@pytest.mark.parametrize("package", NAMES)
def test_documented_names_are_listed_functions_and_classes(public, package: str):
    modules, _ = public[package]
    assert not set(NAMES[package].split()) - modules.keys()
    assert not {name for name in NAMES[package].split() if modules[name]}


def test_importing_submodules_changes_no_public_name(public):
    """A file named as a function of its package would replace the function when it is imported."""
    assert {package: changed for package, (_, changed) in public.items() if changed} == {}


def test_help_imports_neither_jax_nor_numpy():
    assert python(HELP).count("usage: kd") == 4


def test_the_package_says_that_it_is_typed():
    assert (resources.files("kd") / "py.typed").is_file()
