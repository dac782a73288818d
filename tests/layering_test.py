"""The layers of `kd`: a package imports only packages below it, and what a file may hold."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    "errors signals",
    "ranges files names extras",
    "types values convolutions",
    "registry config metrics devices labels trace functions accumulation layer_decay",
    "features models objectives data teachers optim objective quantize robustness weights",
    "init step predict losses",
    "build",
    "runs",
    "export report tables engines",
    "train tune verify",
    "api cli",
    "__init__ __main__ template",
)
LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages.split()}
WITHIN_A_LAYER = {
    ("convolutions", "values"),
    ("models", "features"),
    ("objectives", "features"),
    ("objectives", "robustness"),
    ("robustness", "features"),
    ("predict", "step"),
    ("tables", "engines"),
}
FILES = sorted((ROOT / "kd").rglob("*.py"))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree; each file is parsed once."""
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports(path: Path) -> list[str]:
    """The absolute names that a file imports, in functions too."""
    names = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def package(file: Path) -> str:
    """Returns the part of `kd` that a file belongs to: a directory, or a module of the root."""
    return file.relative_to(ROOT / "kd").parts[0].removesuffix(".py")


def arrows() -> Iterator[tuple[Path, str, str]]:
    """Yields each import of one part of `kd` by another: the file, its part, the imported part."""
    for file in FILES:
        names = {name for name in imports(file) if name.startswith("kd.")}
        for target in {name.split(".")[1] for name in names - {"kd.__version__"}}:
            if target != package(file):
                yield file, package(file), target


def test_a_package_imports_only_packages_below_it():
    unknown = {package(file) for file in FILES} - LAYER.keys()
    assert not unknown, f"no layer is known for {unknown}"
    for file, source, target in arrows():
        below = LAYER[target] < LAYER[source] or (source, target) in WITHIN_A_LAYER
        assert below, f"{file.relative_to(ROOT)} imports kd.{target}"


def test_no_two_packages_import_each_other():
    graph: dict[str, set[str]] = {}
    for _, source, target in arrows():
        graph.setdefault(source, set()).add(target)
    graphlib.TopologicalSorter(graph).prepare()


def test_config_tables_and_metrics_do_not_import_jax():
    """Neither directly nor by what they import, tried in a separate process."""
    code = (
        "import importlib, pkgutil, sys\n"
        "for name in ('config', 'tables', 'engines', 'metrics'):\n"
        "    package = importlib.import_module(f'kd.{name}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "        assert 'jax' not in sys.modules, module.name\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr


NEEDED_LATER = (
    "ai_edge_litert bakenn gcsfs grain litert_converter matplotlib optuna orbax pandas PIL ray "
    "sklearn "
    "tensorboardX tensorflow tensorflow_datasets tensorstore tflite_micro torch"
)
"""Packages that take long to import. Only what needs them imports them, such as a run when it
saves."""


def imported_late(code: str, *names: str) -> set[str]:
    """Which of `NEEDED_LATER` a process of this code has imported in the end, beyond `names`."""
    code += (
        "\nimport sys\n"
        f"late = {{*{NEEDED_LATER.split()}}} - {{*{names}}}\n"
        "print(*sorted(late & sys.modules.keys()), file=sys.stderr)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    return set(process.stderr.splitlines()[-1].split())


def test_training_imports_what_saves_and_decodes_once_that_is_needed():
    modules = "kd.train.run, kd.train.session, kd.train.streaming, kd.train.imported, kd.api"
    assert imported_late(f"import {modules}") == set()


@pytest.mark.slow
def test_a_run_on_digits_imports_nothing_slow_but_what_saves(tmp_path):
    run = ["run", "--config", "configs/digits.py:role=labels", "--config.epochs=1"]
    run += ["--config.schedule.warmup=0", "--runs", str(tmp_path)]
    code = f"from kd.cli.main import main\nassert main({run}) == 0"
    assert imported_late(code, "orbax", "tensorstore") == set()


def test_metrics_need_numpy_and_scipy_alone():
    allowed = sys.stdlib_module_names | {"numpy", "scipy", "jaxtyping", "kd"}
    for file in (file for file in FILES if package(file) == "metrics"):
        beyond = {name.partition(".")[0] for name in imports(file)} - allowed
        assert not beyond, f"{file.relative_to(ROOT)} imports {beyond}"


def test_no_layer_below_the_builders_reads_a_config():
    """They take plain arguments, so that they work in a notebook."""
    for file in FILES:
        if LAYER[package(file)] <= LAYER["step"] and package(file) != "config":
            names = {name.partition(".")[0] for name in imports(file)}
            assert "ml_collections" not in names, file.relative_to(ROOT)


def test_configs_and_experiments_are_data():
    allowed = {"ml_collections", "configs", "difflib", "typing", "collections"}
    for folder in ("configs", "experiments"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.parent.name == "launch":  # programs
                continue
            tops = {name.partition(".")[0] for name in imports(file)}
            assert not tops - allowed, f"{file.relative_to(ROOT)}: {tops - allowed}"


def test_each_undocumented_binding_has_one_module():
    """A new version of an extra's package is then a matter of one file."""
    homes = {
        "ai_edge_litert.interpreter": "interpreter",
        "ai_edge_litert.schema_py_generated": "graph",
        "ai_edge_quantizer": "quantize",
        "bakenn": "kernels",
        "litert_converter": "converter",
        "tflite_micro": "micro",
    }
    users = {name: set() for name in homes}
    for file in FILES:
        for name in imports(file):
            for binding in homes:
                if f"{name}.".startswith(f"{binding}."):
                    users[binding].add(file.stem)
    assert users == {binding: {home} for binding, home in homes.items()}


def test_files_are_short():
    lengths = {str(f.relative_to(ROOT / "kd")): len(f.read_text().splitlines()) for f in FILES}
    assert not {file: lines for file, lines in lengths.items() if lines > 300}


def test_functions_are_short():
    long = set()
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 80:
                long.add(node.name)
    assert long == {"make_step"}


def test_printed_numbers_have_no_negative_zero():
    """Each number with decimals is formatted with `z`, but in generated code and messages of
    settings, where the user's own spelling matters.
    """
    exempt = {"c_source.py", "fake_quant.py", "limits.py"}
    missing = []
    for file in FILES:
        if file.name in exempt:
            continue
        for node in nodes(file):
            if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                spec = ast.unparse(node.format_spec)[2:-1]
                if spec[-1] in "fge%" and "z" not in spec:
                    missing.append(f"{file.relative_to(ROOT)}:{node.lineno}: {spec}")
    assert not missing, "\n".join(missing)
