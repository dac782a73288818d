"""Who may import whom: the layout is the architecture, and this keeps it so."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

BELOW = {
    "errors": set(),
    "types": {"errors"},
    "config": {"errors"},
    "identity": {"config"},
    "override": {"config", "errors"},
    "build": {"config", "errors"},
    "transform": {"types"},
    "models": {"types", "errors", "models", "features", "build"},
    "features": {"types", "errors"},
    "objectives": {"types", "errors", "features", "objectives"},
    "data": {"types", "errors", "data", "build"},
    "objective": {"types", "errors"},
    "groups": {"config", "errors"},
    "reduction": {"types"},
    "codec": set(),
    "teacher": {"types", "errors", "codec", "reduction", "transform"},
    "optim": {"types", "errors", "build"},
    "inherited": {"types", "errors"},
    "quantize": {"types", "errors", "quantize"},
    "step": {"types", "errors", "inherited"},
    "peers": {"types", "step"},
    "program": {"types", "step", "transform"},
    "checkpoint": {"types", "errors"},
    "weights/pickled": {"errors"},
    "weights/safetensors": {"errors"},
    "weights/torch_file": {"errors", "weights"},
}
"""What each layer may import of kd. The step knows types, errors and what is
inherited; models, objectives, data, teachers and optimizers do not
know one another. Modules that are not here are above all these."""


def imports(path):
    """Absolute names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def layers(path):
    """Second parts of the kd names that a file imports."""
    return {n.split(".")[1] for n in imports(path) if n.startswith("kd.")}


def test_each_layer_imports_only_those_below_it():
    for layer, allowed in BELOW.items():
        home = ROOT / "kd" / layer
        files = sorted(home.rglob("*.py")) or [home.with_suffix(".py")]
        for file in files:
            beyond = layers(file) - allowed
            assert not beyond, f"{file.relative_to(ROOT)} imports kd.{beyond}"


def test_configs_and_experiments_are_data():
    allowed = {"ml_collections", "configs", "difflib", "typing", "collections"}
    for folder in ("configs", "experiments"):
        for file in (ROOT / folder).rglob("*.py"):
            tops = {name.partition(".")[0] for name in imports(file)}
            assert not tops - allowed, f"{file.relative_to(ROOT)}: {tops - allowed}"


def test_only_the_outer_modules_read_a_config():
    """The step and all below it take named arguments, so that they work in a notebook."""
    for layer in BELOW.keys() - {"config", "identity", "override", "build", "groups"}:
        home = ROOT / "kd" / layer
        for file in sorted(home.rglob("*.py")) or [home.with_suffix(".py")]:
            assert "ml_collections" not in file.read_text(), file


def test_each_undocumented_binding_has_one_module():
    """So that a new version of a package of the extras is one file's matter."""
    homes = {
        "ai_edge_litert.interpreter": "interpreter",
        "ai_edge_litert.schema_py_generated": "graph",
        "ai_edge_quantizer": "quantize",
        "bakenn": "kernels",
        "litert_converter": "converter",
        "tflite_micro": "micro",
    }
    users = {name: set() for name in homes}
    for file in (ROOT / "kd").rglob("*.py"):
        for name in imports(file):
            for package in homes:
                if f"{name}.".startswith(f"{package}."):
                    users[package].add(file.stem)
    assert users == {package: {home} for package, home in homes.items()}
