"""Commands, settings and code in the documents are true: they are parsed, checked and run."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import notebooks
import pytest
from ml_collections import ConfigDict

import kd
from kd import config as configs
from kd.cli.parser import find_verbs, make_parser
from kd.tables import experiment

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.py")),
    *sorted((ROOT / "configs").glob("*.py")),
    *sorted((ROOT / "docs/notebooks").glob("*.ipynb")),
]
GENERATED = "docs/command.md"
"""Lists options; its lines are no commands."""


def text_of(path: Path) -> str:
    """A document's text; of a notebook its cells."""
    if path.suffix != ".ipynb":
        return path.read_text()
    return "\n\n".join(
        f"```python\n{''.join(cell['source'])}\n```" * (cell["cell_type"] == "code")
        or "".join(cell["source"])
        for cell in json.loads(path.read_text())["cells"]
    )


TEXTS = {str(path.relative_to(ROOT)): text_of(path) for path in DOCUMENTS}


def commands() -> Iterator[tuple[str, str, bool]]:
    """(document, command, inline) of each line that calls kd, in blocks and in inline code."""
    for document, text in TEXTS.items():
        if document == GENERATED:
            continue
        text = re.sub(r"\\\n *", " ", text)
        inline = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
        pattern = r"(?:uv run (?:--\S+ )*)?kd [a-z]+\b.*"
        shell = "\n".join(re.findall(r"(?ms)^```(?:bash|sh|console)\n(.*?)^```", text))
        for line in re.findall(rf"(?m)^(?: {{4}})(?:\S.*&& )?({pattern})$", text) + re.findall(
            rf"(?m)^(?:\$ )?({pattern})$", shell
        ):
            yield document, line, False
        for line in re.findall(rf"`({pattern.replace('.*', '[^`]*')})`", inline, re.DOTALL):
            yield document, " ".join(line.split()), True


def arguments(command: str) -> list[str]:
    """What follows `kd` in a command without its comment."""
    words = shlex.split(command, comments=True)
    return words[words.index("kd") + 1 :]


ADDED = set(re.findall(r"# kd/(?:cli|export/formats)/(\w+)\.py", TEXTS["CONTRIBUTING.md"]))
"""Verbs and formats that its examples add."""

YOURS = ("mine.py", "config.py", "FILE.py", "kd:NAME")
"""Configs that stand for one of the reader's."""

COMMANDS = [found for found in dict.fromkeys(commands()) if not ADDED & set(arguments(found[1]))]


def test_commands_are_recognised():
    """So that the tests below are not about nothing."""
    assert len(COMMANDS) > 40
    assert len({arguments(command)[0] for _, command, _ in COMMANDS} & set(find_verbs())) > 8


@pytest.mark.parametrize(("document", "command", "inline"), COMMANDS)
def test_commands_have_arguments_that_kd_takes(document, command, inline, monkeypatch, capsys):
    """The command's own parser reads them; configs, experiments and overrides exist. In the prose a
    command may lack what it is about, as in `kd table --print`.
    """
    monkeypatch.chdir(ROOT)
    words = ["c" if word == "FORMAT" else word for word in arguments(command)]
    if "--help" in words:
        words = words[:1]
    try:
        options, rest = make_parser(words).parse_known_args(words)
    except SystemExit:
        message = capsys.readouterr().err
        if inline and "arguments are required" in message:
            return
        pytest.fail(f"{document}: {command}\n{message}")
    assert all(word.startswith("--config.") for word in rest), rest
    assert not rest or options.verb == "run", rest
    named = getattr(options, "config", None)
    if named and not named.startswith(YOURS) and "..." not in named:
        from kd.config.override import rename

        loaded, overrides = rename(configs.load(named), rest)
        for word in overrides:
            check_key(loaded, word.removeprefix("--config.").partition("=")[0])
    if options.verb == "table":
        if options.file.startswith("kd:"):
            assert options.file == "kd:NAME" or experiment.load(options.file)
        else:
            file = Path(options.file.partition(":")[0])
            assert file.is_file() or file.name == "mine.py"  # the reader's own


def check_key(config: ConfigDict, key: str) -> None:
    """Raises where a config has no such key; open sections have those of what they name."""
    section, _, rest = key.partition(".")
    assert section in config, key
    if rest and section not in ("data", "student", "optimizer", "schedule", "objective"):
        check_key(config[section], rest)


def blocks(document: str) -> list[str]:
    """The Python blocks of a document."""
    return re.findall(r"(?m)^```python\n(.*?)^```", TEXTS[document], re.DOTALL)


PAGES = [document for document in TEXTS if blocks(document)]


@pytest.mark.parametrize("document", PAGES)
def test_python_compiles_and_names_of_kd_exist(document):
    for block in blocks(document):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and (path := dotted(node)).startswith("kd."):
                value = kd
                for name in path.split(".")[1:]:
                    assert hasattr(value, name), f"{document}: {path}"
                    value = getattr(value, name)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression that is only names, else "" """
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := dotted(node.value)):
        return f"{head}.{node.attr}"
    return ""


def settings(document: str) -> list[str]:
    """Blocks and inline code that set keys of a config `c`."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", TEXTS[document])
    inline = re.findall(r"`(c\.[\w.]+ = [^`]+)`", text)
    return [block for block in blocks(document) if block.startswith("c.")] + [
        " ".join(line.split()) for line in inline
    ]


@pytest.mark.parametrize("document", [d for d in TEXTS if settings(d)])
def test_settings_are_keys_of_a_config(document):
    for block in settings(document):
        if document == "docs/config.md":
            continue  # kd/config/defaults.py itself
        c = ConfigDict({section: {} for section in ("data", "student", "teacher", "objective")})
        c.init, c.optimizer = ConfigDict(), ConfigDict()
        for term in re.findall(r"c\.objective\.(\w+)\.", block):
            c.objective[term] = ConfigDict()
        exec(
            re.sub(", \\.\\.\\.|\\.\\.\\.", "", block).replace("=)", "='')"), {"c": c, "dict": dict}
        )
        if c.teacher and not (set(c.teacher) & {"run", "config", "groups", "name"}):
            c.teacher.run = "runs/some"
        configs.complete(ConfigDict({key: value for key, value in c.items() if value}))


STANDALONE = {
    document: code
    for document in PAGES
    if document.endswith(".md")
    and not document.startswith("docs/api/")  # show what docs/start.md does, with names of yours
    and (
        code := [
            block for block in blocks(document) if re.search("^import kd|^import numpy", block)
        ]
    )
}
"""Blocks that run as they stand, in the order of the page, in a directory with `configs`."""


def test_pages_with_code_that_runs():
    assert {"README.md", "docs/start.md", "docs/data.md", "docs/teachers.md"} <= STANDALONE.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize("document", STANDALONE)
def test_python_runs(document, tmp_path, monkeypatch):
    """All of a page's blocks, on the config of the digits with few epochs."""
    monkeypatch.chdir(tmp_path)
    config = (ROOT / "configs/digits.py").read_text()
    config = re.sub("c.epochs = .*", "c.epochs = 3", config)
    config = re.sub("c.compare = .*", "c.compare = {}", config)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/digits.py").write_text(config)
    namespace: dict = {}
    for block in STANDALONE[document]:
        exec(re.sub("epochs=\\d+", "epochs=2", block), namespace)
    if "student" in namespace:
        assert 0 <= namespace["student"].scores["accuracy"][0] <= 1
    if "step" in namespace:
        assert int(namespace["state"].step) == 1


@pytest.mark.slow
def test_notebooks_run_and_print_what_they_show(tmp_path):
    """As a user's process; numbers may differ, and the cells check what matters themselves."""
    pytest.importorskip("ai_edge_litert")
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(ROOT / "tests/notebooks.py"), str(tmp_path)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    for path in notebooks.NOTEBOOKS:
        again = json.loads((tmp_path / path.name).read_text())
        assert outputs(again) == outputs(json.loads(path.read_text())), (
            "run them anew: python tests/notebooks.py"
        )


def outputs(notebook: dict) -> list[list[str]]:
    """Kinds of the outputs of each cell, printed lines with all numbers taken out."""
    return [
        [
            re.sub(r"[-+±]?[\d.,]+", "0", "".join(output.get("text", output["output_type"])))
            for output in cell.get("outputs", [])
        ]
        for cell in notebook["cells"]
    ]


def test_notebooks_have_their_outputs():
    for path in notebooks.NOTEBOOKS:
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
        assert sum(bool(cell["outputs"]) for cell in cells) > len(cells) / 2


OTHERS = (
    "error: externally-managed-environment",
    "No module named pip",
    "No module named 'kd'",
    "kd: command not found",
    "uv: command not found",
)
"""Messages of docs/faq.md that are not kd's."""


def test_the_messages_that_questions_are_about_are_those_of_kd():
    """Each piece of a message that is quoted as a heading is in the source."""
    source = "".join(path.read_text() for path in (ROOT / "kd").rglob("*.py"))
    source = re.sub(r'"\n\s*f?"', "", source)  # one message in several literals
    quoted = re.findall(r"\*\*`(.+?)`", " ".join(TEXTS["docs/faq.md"].split()))
    quoted += re.findall(r"\*\*`.+?`, `(.+?)`", TEXTS["docs/faq.md"])
    assert len(quoted) > 10
    for message in set(quoted) - set(OTHERS):
        for piece in re.split(r" ?\.\.\. ?|my_project|\?", message):
            assert piece.strip() in source, message
