"""Configs: what a run is, as plain data. Loading, defaults, checks, and the identity of a run. Imports no jax."""

import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import ml_collections
from ml_collections import config_dict

from kd.errors import InputError, unknown

ConfigDict = ml_collections.ConfigDict


def default() -> ConfigDict:
    """Every key that a config may have, with its default. A section that has a `name` takes that thing's own settings."""
    c = ConfigDict()
    c.seed = (
        0  # of the first of `seeds`: initial weights, order of examples, augmentation
    )
    c.seeds = (
        1  # as many students, trained in one program; together they are an ensemble
    )
    c.seeds_how = "auto"  # vmap | map | unroll | auto: equal results; see kd.transform
    c.loop = "auto"  # over updates: device | host | auto; see kd.program
    c.data = ConfigDict({"name": ""})  # a file of kd/data, or a dotted path
    c.augment = ""  # such as "crop(4)|flip"; see kd.data.augment
    c.holdout = 0.0  # share of train held out and evaluated in place of test
    c.validation = (
        0.0  # share of train held out beside test: its predictions are stored
    )
    c.train_classes = ()  # whose training images are used, to make transfer sets; (): all
    c.batch_size = 64
    c.drop_last = False  # whether the short last batch of an epoch is left out
    c.epochs = 1
    c.student = ConfigDict({"name": ""})  # a class in kd/models, or a dotted path
    c.teacher = ConfigDict(TEACHER)
    c.objective = ConfigDict()  # {term: dict(name=..., weight=..., settings)}
    c.optimizer = ConfigDict({"name": "sgd"})  # see kd.optim
    c.schedule = ConfigDict({"name": "constant"})  # of the learning rate, see kd.optim
    c.steps_per_call = 64  # updates per dispatch to the device
    c.eval_every = 1  # epochs between evaluations; the last epoch always has one
    c.eval_batch_size = 1000
    c.devices = ConfigDict({"data": 1, "teacher": 1, "transform": "jit"})
    c.checkpoint = ConfigDict({"seconds": 30.0, "keep": 1})  # at most that often
    c.tensorboard = False  # also write event files (extra `kd[tensorboard]`)
    c.compare = ConfigDict()  # {label: config of an ordinary run} for the closing table
    c.acceptance = ConfigDict()  # max_drop, min_agreement, as fractions
    return c


TEACHER = {
    "name": "",  # "frozen": one or more trained networks; "none"; empty: what the rest says
    "run": "",  # directory of the run that trained it
    "config": "",  # config that makes that run where it is missing
    "members": "all",  # "all" | "paired" (student i learns from member i) | such as "0,2"
    "reduce": "probs",  # of several: "probs" | "logits" (their mean) | "each" (PerTeacher)
    "cache": False,  # its logits are computed once; where nothing is augmented: equal results
    "how": "auto",  # of several: vmap | map | unroll | auto: equal results
}
"""Keys of `config.teacher`."""

ACCEPTANCE = {"max_drop": 1.0, "min_agreement": 0.0}
"""Keys of `config.acceptance`: loss of accuracy against the teacher, and agreement with it, as fractions."""

OPEN = ("data", "student", "teacher", "optimizer", "schedule", "objective")
"""Sections whose keys depend on the thing that they name; checked when it is built."""

KEPT = ("weight", "learning_rate", "clip_norm", "max_norm", "value")
"""Settings of a section that stay when it names another thing."""

REPORTING = ("compare", "acceptance", "checkpoint", "tensorboard", "devices")
"""Keys that change what is reported, kept or used, but not what is learned: no part of a run's identity."""


def load(reference: str) -> ConfigDict:
    """The config that `FILE.py` or `FILE.py:arguments` gives, over the defaults. Raises InputError."""
    given = ask(reference, "get_config", "config")
    if not isinstance(given, ConfigDict):
        raise InputError(
            f"{reference}: get_config returned {type(given).__name__}, expected ConfigDict."
        )
    return complete(given)


def ask(reference: str, function: str, kind: str) -> Any:
    """What `function(arguments)` of the file `FILE.py:arguments` returns.

    Raises:
      InputError: no such file (it lists those in the directory `{kind}s`), no such function, or an error in the file.
    """
    path, _, arg = reference.partition(":")
    file = Path(path)
    if not file.is_file():
        near = sorted(str(p) for p in Path(f"{kind}s").glob("*.py"))
        raise InputError(
            f"no {kind} file {path!r}. Here there are: {', '.join(near) or 'none'}."
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    spec = importlib.util.spec_from_file_location(
        f"kd_{kind}_{file.stem}", file.resolve()
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise InputError(f"it defines no {function}(arg=None).")
        ask_it = getattr(module, function)
        return ask_it(arg) if arg else ask_it()
    except InputError as error:
        raise InputError(f"{reference}: {error}") from error
    except (Exception, SystemExit) as error:
        line = _line_in(error, file)
        raise InputError(
            f"{reference}{line}: {type(error).__name__}: {error}"
        ) from error


def _line_in(error: BaseException, file: Path) -> str:
    """`, line N` of the config file, where the error came out of it."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    trace, line = error.__traceback__, ""
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file.resolve()):
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def complete(given: ConfigDict) -> ConfigDict:
    """`given` over the defaults, locked. Raises InputError for unknown keys and for values of another type."""
    config = default()
    for key, value in given.items():
        if key not in config:
            raise unknown("config key", key, config)
        config[key] = _checked(key, config[key], value)
    config.teacher = _teacher(config.teacher)
    if config.acceptance:
        config.acceptance = _over(ACCEPTANCE, config.acceptance, "acceptance")
    _check_values(config)
    return config.lock()


def _checked(key: str, standard: Any, value: Any) -> Any:
    """`value` where it has the type of `standard`; sections are merged."""
    if isinstance(standard, ConfigDict):
        if not isinstance(value, Mapping | ConfigDict):
            raise _wrong_type(key, standard, value)
        value = ConfigDict(dict(value.items()))
        if key in OPEN or not standard:
            return value if key == "objective" else _merged(standard, value)
        return _over(standard, value, key)
    return of_type(key, standard, value)


def _merged(standard: ConfigDict, value: ConfigDict) -> ConfigDict:
    """`value`, its keys in its own order, with the missing ones of `standard`."""
    merged = ConfigDict({k: v for k, v in value.items()})
    for key, fallback in standard.items():
        if key not in merged:
            merged[key] = fallback
    return merged


def _over(
    standard: Mapping | ConfigDict, value: ConfigDict, section: str
) -> ConfigDict:
    merged = ConfigDict(dict(standard))
    for key, item in value.items():
        if key not in merged:
            raise unknown(f"key of config.{section}", key, merged)
        merged[key] = of_type(f"{section}.{key}", merged[key], item)
    return merged


def _teacher(section: ConfigDict) -> ConfigDict:
    """The section `teacher`, whole; what it lacks or has too much of is an InputError."""
    given = dict(section.items())
    members = given.get("members")
    if isinstance(members, int | tuple | list) and not isinstance(members, bool):
        members = (members,) if isinstance(members, int) else members
        given["members"] = ",".join(str(i) for i in members)
    elif isinstance(members, str):  # "(0, 2)" of a command line
        given["members"] = re.sub(r"[()\[\]\s]", "", members).strip(",")
    whole = _over(TEACHER, ConfigDict(given), "teacher")
    known = bool(whole.run or whole.config)
    whole.name = whole.name or ("frozen" if known else "none")
    if whole.name not in ("frozen", "none"):
        raise unknown("value of config.teacher.name", whole.name, ("frozen", "none"))
    if whole.name == "frozen" and not known:
        raise InputError(
            "config.teacher: give run (the directory of a finished run) or config (what makes it)."
        )
    return whole


def of_type(key: str, standard: Any, value: Any) -> Any:
    """`value` where its type is that of `standard`; an int passes for a float, a list for a tuple. Raises InputError."""
    if standard is None:
        return value
    if isinstance(standard, float) and type(value) is int:
        return float(value)
    if isinstance(standard, list | tuple) and isinstance(value, list | tuple):
        if standard and len({type(v) for v in standard}) == 1:
            return tuple(of_type(key, standard[0], v) for v in value)
        return tuple(value)
    if isinstance(standard, Mapping | ConfigDict) and isinstance(
        value, Mapping | ConfigDict
    ):
        return value
    if type(value) is not type(standard):
        raise _wrong_type(key, standard, value)
    return value


def _wrong_type(key: str, standard: Any, value: Any) -> InputError:
    expected = "a dict" if isinstance(standard, ConfigDict) else type(standard).__name__
    return InputError(
        f"config.{key}: expected {expected}, got {value!r} ({type(value).__name__})."
    )


def _check_values(config: ConfigDict) -> None:
    positive = ("seeds", "batch_size", "epochs", "steps_per_call")
    for key in (*positive, "eval_every", "eval_batch_size"):
        if config[key] < 1:
            raise InputError(f"config.{key}: expected 1 or more, got {config[key]}.")
    if not 0 <= config.seed <= 2**31 - config.seeds:
        raise InputError(
            f"config.seed: expected 0 to {2**31 - config.seeds}, got {config.seed}: larger ones would repeat smaller ones."
        )
    if config.checkpoint.keep < 1:
        raise InputError(
            f"config.checkpoint.keep: expected 1 or more, got {config.checkpoint.keep}."
        )
    for key in ("holdout", "validation"):
        if not 0 <= config[key] < 1:
            raise InputError(
                f"config.{key}: expected a share of train in [0, 1), got {config[key]}."
            )
    choices = {
        "seeds_how": ("auto", "vmap", "map", "unroll"),
        "loop": ("auto", "device", "host"),
        "teacher.reduce": ("probs", "logits", "each"),
        "teacher.how": ("auto", "vmap", "map", "unroll"),
        "devices.transform": ("jit",),
    }
    for key, known in choices.items():
        section, _, last = key.rpartition(".")
        value = (config[section] if section else config).get(last, known[0])
        if value not in known:
            raise unknown(f"value of config.{key}", str(value), known)
    members = config.teacher.get("members", "all")
    if not re.fullmatch(r"all|paired|\d+(,\d+)*", members):
        raise InputError(
            f"config.teacher.members: expected 'all', 'paired' or indices such as (0, 2), got {members!r}."
        )
    if len(set(members.split(","))) < len(members.split(",")):
        raise InputError(f"config.teacher.members: {members!r} names a member twice.")
    for label, reference in config.compare.items():
        if not isinstance(reference, str):
            raise InputError(
                f"config.compare[{label!r}]: expected a config such as 'configs/digits.py:role=labels', got {reference!r}."
            )
    for key, value in leaves(config.to_dict()):
        _check_plain(key, value)


def _check_plain(key: str, value: Any) -> None:
    """Raises InputError for what JSON cannot hold: a run is told from others by its config's text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise InputError(
            f"config.{key}: expected plain data (numbers, texts, tuples of them), got {value!r} ({type(value).__name__})."
        ) from None


def override(config: ConfigDict, arguments: list[str]) -> ConfigDict:
    """`config` after `--config.key=value` arguments, parsed by ml_collections as everywhere in the field. Raises InputError."""
    from absl import flags
    from ml_collections import config_flags

    for argument in arguments:
        if argument.startswith("--config."):
            _require_key(config, argument[len("--config.") :].partition("=")[0])
    values = flags.FlagValues()
    changed = _fillable(config.to_dict())
    command = ["kd", *arguments]
    try:
        config_flags.DEFINE_config_dict(
            "config", changed, flag_values=values, sys_argv=command
        )
        left = values(command)[1:]
    except (flags.Error, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if left:
        raise InputError(
            f"unexpected argument {left[0]!r}. Overrides read --config.key=value."
        )
    return complete(cast(ConfigDict, values["config"].value))


def rename(config: ConfigDict, arguments: list[str]) -> tuple[ConfigDict, list[str]]:
    """The config after those arguments that name another thing, such as `--config.student.name=cnn.CNN`, and the rest.

    The settings of the thing that was named before go with it; the rest of the arguments can then set the new thing's.
    """
    config = ConfigDict(config.to_dict())
    rest = []
    for argument in arguments:
        path, equals, name = argument.partition("=")
        parts = path.removeprefix("--config.").split(".")
        open_section = parts[0] in OPEN and parts[0] != "teacher"
        if not (equals and open_section and parts[-1] == "name" and len(parts) > 1):
            rest.append(argument)
            continue
        _require_key(config, ".".join(parts))
        section: Any = config
        for part in parts[:-2]:
            section = section[part]
        before = section[parts[-2]]
        if before.name != name:
            kept = {k: before[k] for k in KEPT if k in before}
            section[parts[-2]] = ConfigDict({**kept, "name": name})
    return config.lock(), rest


def _fillable(tree: Mapping[str, Any]) -> ConfigDict:
    """A copy in which None may be replaced by any literal or text: ml_collections refuses to replace a bare None."""
    filled = ConfigDict()
    for key, value in tree.items():
        if isinstance(value, Mapping):
            value = _fillable(value)
        filled[key] = config_dict.placeholder(object) if value is None else value
    return filled


def _require_key(config: ConfigDict, dotted: str) -> None:
    section: Any = config
    seen: list[str] = []
    for part in dotted.split("."):
        where = "config" + "".join(f".{s}" for s in seen)
        if not isinstance(section, ConfigDict):
            raise InputError(f"{where} is a value and has no key {part!r}.")
        if part not in section:
            raise unknown(f"key of {where}" if seen else "config key", part, section)
        section, seen = section[part], [*seen, part]


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides what is learned, as JSON data with sorted keys."""
    config = config.to_dict() if isinstance(config, ConfigDict) else config
    kept = {k: v for k, v in config.items() if k not in REPORTING}
    data = {k: v for k, v in kept.get("data", {}).items() if k != "data_dir"}
    return json.loads(json.dumps({**kept, "data": data}, sort_keys=True))


def fingerprint(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the sha256 of `identity`."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Lines `key: ours, not theirs` for each key in which two identities differ."""
    a, b = (dict(leaves(identity(c))) for c in (ours, theirs))
    absent = "absent"
    return [
        f"{key}: {a.get(key, absent)!r} here, {b.get(key, absent)!r} there"
        for key in sorted({*a, *b})
        if a.get(key, absent) != b.get(key, absent)
    ]


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of a dotted key and its value, for each value of nested dicts that is no dict of its own with keys."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, tree


def default_workdir(reference: str, root: os.PathLike | str = "runs") -> Path:
    """`runs/NAME` or `runs/NAME-arguments` for the config `FILE.py:arguments`."""
    path, _, arg = reference.partition(":")
    name = Path(path).stem + (f"-{arg}" if arg else "")
    return Path(root) / re.sub(r"[^\w.=,+-]", "_", name)
