"""The command `kd`: its verbs, one file each, and its exit statuses."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kd import cli
from kd.cli.main import find_verbs, main, make_parser

ROOT = Path(__file__).parents[1]

GREET = '''
"""`kd greet_all`: an example of a verb in one file."""

from kd.errors import InputError, RunError

ORDER = {order}
HELP = "greet somebody"
DESCRIPTION = "Prints a greeting."


def add_arguments(parser):
    parser.add_argument("name")


def act(options):
    errors = {{"nobody": InputError, "ghost": RunError, "disk": OSError, "ctrl": KeyboardInterrupt}}
    if options.name in errors:
        raise errors[options.name]("no such person")
    print(f"Hello, {{options.name}}!")
    return 7
'''


def test_a_new_verb_is_one_new_file(tmp_path):
    """In a copy of the package, into which only the verb's file is added."""
    shutil.copytree(ROOT / "kd", tmp_path / "kd", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "kd" / "cli" / "greet_all.py").write_text(GREET.format(order=15))

    def kd(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "kd", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    listed = kd("--help").stdout
    places = [listed.index(f"\n    {verb} ") for verb in ("run", "greet_all", "table")]
    assert places == sorted(places) and "greet somebody" in listed
    assert "Prints a greeting." in kd("greet_all", "--help").stdout
    done = kd("greet_all", "Ada")
    assert (done.returncode, done.stdout) == (7, "Hello, Ada!\n")
    refused = kd("greet_all", "Ada", "--config.epochs=5")
    assert refused.returncode == 2 and "unexpected --config.epochs=5" in refused.stderr


@pytest.fixture
def greet(tmp_path, monkeypatch):
    """The verb above, in a second folder of the package."""
    (tmp_path / "greet.py").write_text(GREET.format(order=15))
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    yield
    sys.modules.pop("kd.cli.greet", None)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("nobody", 2, "kd greet: no such person"),
        ("ghost", 1, "kd greet: no such person"),
        ("disk", 1, "kd greet: no such person"),
        ("ctrl", 130, "kd greet: interrupted. The same command begins anew."),
    ],
)
def test_each_error_has_its_exit_status_and_no_traceback(greet, capsys, name, status, words):
    assert main(["greet", name]) == status
    printed = capsys.readouterr()
    assert printed.err.startswith(words) and printed.err.count("\n") == 1 and not printed.out


def test_the_verbs_that_resume_are_those_that_train():
    resume = {name for name, verb in find_verbs().items() if getattr(verb, "RESUMES", False)}
    assert resume == {"run", "table", "tune"}


def test_the_verbs_in_their_order():
    names = (
        "init run configs table experiments status tune data prepare "
        "import pack report uncertainty verify export select"
    )
    assert list(find_verbs()) == names.split()


@pytest.mark.parametrize("name", find_verbs())
def test_every_verb_describes_all_its_arguments(name, capsys):
    with pytest.raises(SystemExit) as stop:
        make_parser([name]).parse_args([name, "--help"])
    assert stop.value.code == 0
    assert find_verbs()[name].DESCRIPTION.split()[0] in capsys.readouterr().out


@pytest.mark.parametrize("name", find_verbs())
def test_every_argument_has_help(name):
    parser = make_parser([name])
    verb = next(action for action in parser._actions if action.dest == "verb").choices[name]
    assert not [action.dest for action in verb._actions if not action.help]


def commands_in(text):
    """The commands with options in the strings of a Python file, docstrings left out; what an
    f-string inserts is written 1.
    """
    inside = set()
    for node in ast.walk(ast.parse(text)):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node)}
            said = "".join(
                getattr(part, "value", "") if isinstance(part, ast.Constant) else "1"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        else:
            continue
        yield from re.findall(r"`kd (\w+ [^`]*--[^`]+)`", said)


SAID = sorted(
    {
        (str(file.relative_to(ROOT)), command)
        for file in (ROOT / "kd").rglob("*.py")
        for command in commands_in(file.read_text())
    }
)


def test_commands_in_messages_are_found():
    assert {command.split()[0] for _, command in SAID} >= {"export", "prepare"}


@pytest.mark.parametrize(("file", "command"), SAID)
def test_commands_in_messages_are_complete(file, command):
    """The parser takes them; I and N stand for numbers."""
    words = ["1" if word in ("I", "N") else word for word in shlex.split(command)]
    options, rest = make_parser(words).parse_known_args(words)
    assert options.verb == words[0] and not rest


def test_a_missing_run_is_refused_before_the_slow_imports(tmp_path):
    code = (
        "import sys\n"
        "from kd.cli.main import main\n"
        f"assert main(['report', {str(tmp_path / 'missing')!r}]) == 2\n"
        "assert 'jax' not in sys.modules\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0 and "is no run directory" in process.stderr, process.stderr


@pytest.mark.parametrize("status", ["256", "-1"])
def test_a_status_that_no_process_can_end_with_is_refused(capsys, status):
    assert main(["run", "--config", "x.py", f"--stopped_status={status}"]) == 2
    assert f"--stopped_status: expected an integer from 0 to 255, got {status}" in (
        capsys.readouterr().err
    )


def test_kd_alone_says_what_it_does_and_what_to_try():
    """And imports neither jax nor NumPy, as all that only answers."""
    code = (
        "import sys\n"
        "from kd.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    assert not {'jax', 'numpy'} & sys.modules.keys()\n"
    )

    def kd(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    alone, run = kd(), kd("run")
    assert alone.returncode == 0 and not alone.stderr
    for verb in find_verbs():
        assert f"\n    {verb}" in alone.stdout
    assert "Try:\n  kd run --config kd:digits" in alone.stdout
    assert run.returncode == 2 and not run.stdout
    assert "Try:\n  kd run --config kd:digits" in run.stderr and "Traceback" not in run.stderr


REQUIRED = [name for name in find_verbs() if name not in ("configs", "experiments", "doctor")]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_verb_alone_shows_commands_to_try(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name])
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and f"kd {name}: the following arguments are required" in printed
    assert "\nTry:\n  kd " in printed and f"`kd {name} --help`" in printed


@pytest.mark.parametrize("name", find_verbs())
def test_the_commands_to_try_are_ones_that_kd_reads(name):
    for command, what in find_verbs()[name].EXAMPLES:
        words = shlex.split(command.removeprefix("cp $(").partition(")")[0])
        assert words[0] == "kd" and what
        make_parser(words[1:]).parse_args([w for w in words[1:] if "--config." not in w])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("rn", "Did you mean 'run'?"),
        ("run --confg kd:digits", "unexpected --confg. Did you mean --config?"),
        ("run --config x.py --workdr=x", "unexpected --workdr=x. Did you mean --workdir?"),
        ("run --config x.py --print-config", "Did you mean --print_config?"),
        ("run --config x.py --confg.epochs=3", "Did you mean --config.epochs?"),
        ("run kd:digits", "Did you mean --config kd:digits?"),
        ("run mine.py:role=teacher", "Did you mean --config mine.py:role=teacher?"),
        ("export runs/x --format lite", "Did you mean 'litert'?"),
        ("export runs/x --formt c", "Did you mean --format?"),
        ("report runs/x --store", "Did you mean --stored?"),
        ("--versin", "Did you mean --version?"),
        ("report runs/x --config.epochs=3", "unexpected --config.epochs"),
    ],
)
def test_what_is_misspelt_is_refused_with_the_nearest(arguments, words, capsys):
    try:
        status = main(arguments.split())
    except SystemExit as stop:
        status = stop.code
    assert status == 2 and words in capsys.readouterr().err


def test_help_is_a_word_too(capsys):
    for words in (["help"], ["--help"], ["help", "run"], ["run", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
    first, *rest = capsys.readouterr().out.split("usage: ")[1:]
    assert [first, rest[1]] == [rest[0], rest[2]] and first != rest[1]
