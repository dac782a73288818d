"""Malformed configs and command lines: each is refused in a sentence, or is a config that works.

250 of them, drawn by a seed: never a traceback, never a hang.
"""

import contextlib
import io
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kd import build
from kd import config as configs
from kd.cli.main import main
from kd.errors import InputError

CASES, PIECES = 250, 25
LIMIT = 120
"""Seconds after which a case hangs: many times what the slowest takes."""

VALUES = """
None|True|False|0|-1|1|2**62|10**5000|-10**400|0.5|1.5|1e300|-0.0|float("nan")|float("inf")|1j
""|"x"|"\\0"|"\\ud800"|"~nosuchuser/x"|"/dev/null"|"a\\nb"|"\\x1b[31m"|"\\u202e"|"y"*10**5|b"bytes"
"../.."|"nan"|"1e9"|"all"|"paired"|"none"|"*"|"["|"(?"|"{}"|"%s"|"auto"|"vmap"|"jit"|"int8"
[]|()|{}|[[]]|(0,)|(1, 2, 3)|(-1,)|("a",)|[None]|(1.5, "x")|set()|{1, 2}|range(3)|[1] * 10**5
{"name": "x"}|{"name": None}|{"name": ""}|{1: 2}|{"": 1}|{"a.b": 1}|{None: 1}|{"name": {"name": 1}}
object()|object|len|lambda: 0|(i for i in ())|Exception("x")|open|type|...|NotImplemented|ConfigDict
cyclic()|cyclic_list()|deep()|deep_list()|itself|ConfigDict()|ConfigDict({"name": "mlp.MLP"})
FieldReference(3)|FieldReference(None, field_type=int)|placeholder(int)|Text("x")|Number(3)
"os.system"|"kd"|"mlp."|".MLP"|"mlp.MLP.x"|"..."|"json.loads"|"builtins.print"|"mlp.nn"|"kd.data"
"crop("|"crop(10**9)"|"crop(1)|"|"crop(2.5)"|"flip(nan)"|"noise(-1)"|"(" * 500|"crop|" * 400
""".strip()
"""Python expressions that a config may hold by mistake or malice."""

PREFACE = """
from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference, placeholder


class Text(str):
    pass


class Number(int):
    pass


def cyclic():
    a = {"name": "x"}
    a["a"] = a
    return a


def cyclic_list():
    a = []
    a.append(a)
    return a


def deep():
    a = {}
    for _ in range(3000):
        a = {"a": a}
    return a


def deep_list():
    a = []
    for _ in range(3000):
        a = [a]
    return a


def get_config(arg=None):
    c = itself = {}
    c["data"] = dict(name="arrays", path=PATH)
    c["batch_size"], c["epochs"] = 25, 1
    c["student"] = dict(name="mlp.MLP", widths=(4,))
    c["optimizer"] = dict(name="sgd", learning_rate=0.1)
    c["schedule"] = dict(name="cosine", warmup=0.5)
    ce = dict(name="ce.CE", weight=dict(name="linear", end=0.5))
    c["objective"] = dict(ce=ce, kd=dict(name="kd.KD", temperature=2.0))
    c["teacher"] = dict(name="ema", decay=0.9)
"""

KEYS = """
seed seeds seeds_how loop data data.name data.path data.kind data.num_classes data.class_names
data.mean data.std data.unknown augment mix repeats second_view holdout validation
train_classes batch_size
drop_last epochs student student.name student.widths student.dropout student.input_dropout
student.dtype student.quantize student.num_classes teacher teacher.name teacher.decay teacher.run
teacher.config teacher.members teacher.weights teacher.groups teacher.reduce teacher.cache
teacher.cache_window teacher.cache_dir teacher.how init init.run init.config init.take objective
objective.ce objective.ce.name objective.ce.weight objective.ce.weight.name
objective.ce.weight.end objective.ce.weight.value objective.ce.smoothing objective.kd.temperature
objective.kd.standardize objective.new objective.loss optimizer optimizer.name
optimizer.learning_rate optimizer.momentum optimizer.nesterov optimizer.weight_decay
optimizer.decay optimizer.clip_norm optimizer.max_norm schedule schedule.name schedule.warmup
schedule.end schedule.value precision steps_per_call eval_every eval_batch_size devices
devices.data devices.teacher devices.seeds devices.transform checkpoint checkpoint.seconds
checkpoint.keep export tensorboard profile compilation_cache compare compare.x acceptance
acceptance.max_drop acceptance.min_agreement unknown
"""
"""Places in a config."""

FILES = [
    "",
    "x = (",
    "get_config = 3",
    "def get_config(): return {}",
    "def get_config(arg): return None",
    "def get_config(arg=None): return get_config()",
    "def get_config(arg=None): raise SystemExit(3)",
    "def get_config(arg=None): raise KeyError('x')",
    "import no_such_module_at_all",
    "def get_config(arg=None):\n  from ml_collections import ConfigDict\n  return ConfigDict()",
    "def get_config(arg=None): return 10**5000 // 'x'",
    "\0",
    "\udcff",
    "raise Exception('\\x1b[2J')",
    "def get_config(arg=None): raise type('E', (BaseException,), {})()",
    "def get_config(arg=None):\n  raise Exception(" + "'x' * 10**6)",
]
"""Files that are no configs."""


def cases() -> list[tuple[str, list[str]]]:
    """Pairs (text of the config file, further arguments of `kd run`), equal for all runs."""
    draw = random.Random(19)
    values = [value for line in VALUES.splitlines() for value in line.split("|") if value]
    keys = KEYS.split()
    drawn: list[tuple[str, list[str]]] = [(text, []) for text in FILES]
    while len(drawn) < CASES:
        body, arguments = PREFACE, []
        if draw.random() < 0.7:
            for _ in range(draw.choice((1, 1, 1, 2))):
                path, value = draw.choice(keys).split("."), draw.choice(values)
                outer = "".join(f".setdefault({part!r}, {{}})" for part in path[:-1])
                body += f"    c{outer}[{path[-1]!r}] = {value}\n"
        else:
            value = draw.choice(values).strip("\"'").replace("\\0", "0")
            arguments = [f"--config.{draw.choice(keys)}={value}"]
        drawn.append((f"{body}    return ConfigDict(c)\n", arguments))
    return drawn


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Ends a case that hangs, and fails it."""
    hangs = []

    def stop(*_: object) -> None:
        hangs.append(1)
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        assert not hangs


def prepared(file: str, arguments: list[str]) -> str:
    """What `kd run` does before the first step: "" or why the config is refused.

    Anything but an InputError passes through.
    """
    from kd.train import checks, setup

    try:
        config = build.overridden(configs.load(file), arguments)
        checks.dry_run(config)
        if config.teacher.name in ("none", "ema") and not (config.init.run or config.init.config):
            setup.prepare(config).close()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.campaign
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("piece", range(PIECES))
def test_malformed_configs_are_refused_in_a_sentence(piece, tmp_path, small_data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for number, (text, arguments) in enumerate(cases()[piece::PIECES]):
        file = f"case{piece}_{number}.py"
        raw = text.replace("PATH", repr(str(small_data))).encode("utf-8", "surrogateescape")
        Path(file).write_bytes(raw)
        printed, error = io.StringIO(), io.StringIO()
        with no_hang(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(error):
            status = main(["run", "--config", file, "--print_config", *arguments])
            refused = "" if status else prepared(file, arguments)
        assert status in (0, 2), error.getvalue()
        message = error.getvalue() if status else refused
        assert "Traceback" not in message
        assert len(message) < 5000
        assert bool(message.strip()) == bool(status or refused)
        assert not Path("runs").exists()
