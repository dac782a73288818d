"""Configs: what a run is, as plain data. Loading, defaults, checks, and the identity of a run.
Imports no jax.
"""

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections
from etils import epath

from kd.errors import InputError, unknown
from kd.values import of_type, wrong_type

ConfigDict = ml_collections.ConfigDict


def default() -> ConfigDict:
    """Every key that a config may have, with its default. A section that has a `name` takes that
    thing's own settings.
    """
    c = ConfigDict()
    c.seed = 0  # of the first of `seeds`: initial weights, order of examples, augmentation
    c.seeds = 1  # as many students, trained in one program; together they are an ensemble
    c.seeds_how = "auto"  # vmap | map | unroll | auto: equal results; see kd.devices.vectorize
    c.loop = "auto"  # over updates: device | host | auto; see kd.train.program
    c.data = ConfigDict({"name": ""})  # a file of kd/data, or a dotted path
    c.augment = ""  # such as "crop(4)|flip"; see kd.data.augment
    c.second_view = ""  # of each image, for methods that compare two; likewise
    c.holdout = 0.0  # share of train held out and evaluated in place of test
    c.validation = 0.0  # share of train held out beside test: its predictions are stored
    c.train_classes = ()  # whose training images are used, to make transfer sets; (): all
    c.batch_size = 64
    c.drop_last = False  # whether the short last batch of an epoch is left out
    c.epochs = 1
    c.student = ConfigDict({"name": ""})  # a class in kd/models, or a dotted path
    c.teacher = ConfigDict(TEACHER)
    c.init = ConfigDict(INIT)
    c.objective = ConfigDict()  # {term: dict(name=..., weight=..., settings)}
    c.optimizer = ConfigDict({"name": "sgd"})  # see kd.optim
    c.schedule = ConfigDict({"name": "constant"})  # of the learning rate, see kd.optim
    c.precision = (
        "default"  # of training: default | float32 | tf32 | bfloat16; see kd.devices.precision
    )
    c.steps_per_call = 64  # updates per dispatch to the device
    c.eval_every = 1  # epochs between evaluations; the last epoch always has one
    c.eval_batch_size = 1000
    c.devices = ConfigDict(DEVICES)
    c.checkpoint = ConfigDict({"seconds": 30.0, "keep": 1})  # at most that often
    # "int8": also export the networks to int8 and evaluate those files; see kd.export.run_end
    c.export = ""
    c.tensorboard = False  # also write event files (extra `kd[tensorboard]`)
    c.profile = 0  # updates of which a trace is written to the run's profile/
    c.compilation_cache = (
        "default"  # directory of compiled programs | "none"; see kd.devices.compilation
    )
    c.compare = ConfigDict()  # {label: config of an ordinary run} for the closing table
    c.acceptance = ConfigDict()  # max_drop, min_agreement, as fractions
    return c


DEVICES = {
    "data": 1,  # devices that a batch is split over
    "teacher": 1,  # times as many, that the members of an ensemble are spread over
    "seeds": 1,  # or devices that the seeds are shared out to, and nothing else is
    "transform": "jit",  # "jit" | "pmap": equal results; see kd.devices.pmap
}
"""Keys of `config.devices`; all change where a run happens, and not what it learns."""

TEACHER = {
    "name": "",  # "frozen": one or more trained networks; "ema"; "none"; empty: what the rest says
    "decay": 0.999,  # of "ema", the mean of the student's own weights
    "run": "",  # directory of the run that trained it
    "config": "",  # config that makes that run where it is missing
    "members": "all",  # "all" | "paired" (student i learns from member i) | such as "0,2"
    "weights": (),  # what each member counts, to be divided by their sum; (): all the same
    "groups": (),  # or members of several runs: dicts as `kd.config.teachers.GROUP` has them
    "reduce": "probs",  # of several: probs | logits | each | random | confidence
    # Its logits are computed once: True in memory, "float32", "float16" or the k largest as in
    # "top16" on disk; see kd.train.cache.
    "cache": False,
    # epochs after which the augmentation repeats, with a cache or without; 0: never
    "cache_window": 0,
    "cache_dir": "",  # where the cache lies; "": in the directory of the teacher's run
    "how": "auto",  # of several: vmap | map | unroll | auto: equal results
}
"""Keys of `config.teacher`."""

CACHE = r"float(32|16)|top[1-9]\d*"
"""Values of `config.teacher.cache` beside True and False."""

INIT = {
    "run": "",  # directory of a finished run, whose variables the students start with
    "config": "",  # config that makes that run where it is missing
    # Regular expression on paths such as student/head/kernel, of what is loaded; "": all shared.
    "take": "",
}
"""Keys of `config.init`; see kd.train.warm_start."""

ACCEPTANCE = {"max_drop": 1.0, "min_agreement": 0.0}
"""Keys of `config.acceptance`: loss of accuracy against the teacher, and agreement with it, as
fractions.
"""

OPEN = ("data", "student", "teacher", "optimizer", "schedule", "objective")
"""Sections whose keys depend on the thing that they name; checked when it is built."""


def load(reference: str) -> ConfigDict:
    """The config that `FILE.py` or `FILE.py:arguments` gives, over the defaults. Raises
    InputError.
    """
    given = ask(reference, "get_config", "config")
    if not isinstance(given, ConfigDict):
        raise InputError(
            f"{reference}: get_config returned {type(given).__name__}, expected ConfigDict."
        )
    return complete(given)


def ask(reference: str, function: str, kind: str) -> Any:
    """What `function(arguments)` of the file `FILE.py:arguments` returns.

    Raises:
      InputError: no such file (it lists those in the directory `{kind}s`), no such function, or an
        error in the file.
    """
    path, _, arg = reference.partition(":")
    file = Path(path)
    if not file.is_file():
        near = sorted(str(p) for p in Path(f"{kind}s").glob("*.py"))
        raise InputError(f"no {kind} file {path!r}. Here there are: {', '.join(near) or 'none'}.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    spec = importlib.util.spec_from_file_location(f"kd_{kind}_{file.stem}", file.resolve())
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
        raise InputError(f"{reference}{line}: {type(error).__name__}: {error}") from error


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
    """`given` over the defaults, locked. Raises InputError for unknown keys and for values of
    another type.
    """
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
            raise wrong_type(key, standard, value)
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


def _over(standard: Mapping | ConfigDict, value: ConfigDict, section: str) -> ConfigDict:
    merged = ConfigDict(dict(standard))
    for key, item in value.items():
        if key not in merged:
            raise unknown(f"key of config.{section}", key, merged)
        merged[key] = of_type(f"{section}.{key}", merged[key], item)
    return merged


def _teacher(section: ConfigDict) -> ConfigDict:
    """The section `teacher`, whole; what it lacks or has too much of is an InputError."""
    given = dict(section.items())
    if "members" in given:
        given["members"] = members_text(given["members"])
    cache = _cache(given.pop("cache", False))
    whole = _over(TEACHER, ConfigDict(given), "teacher")
    with whole.ignore_type():
        whole.cache = cache
    known = bool(whole.run or whole.config or whole.groups)
    whole.name = whole.name or ("frozen" if known else "none")
    if whole.name not in ("frozen", "ema", "none"):
        raise unknown("value of config.teacher.name", whole.name, ("frozen", "ema", "none"))
    if whole.name == "ema" and known:
        raise InputError(
            "config.teacher.name = 'ema' is a mean of the student's own weights: it has no run and "
            "no config. Leave them out."
        )
    several = ("members", "weights", "reduce")
    idle = [key for key in several if whole[key] != TEACHER[key]]
    if whole.name == "ema" and idle:
        raise InputError(
            f"config.teacher.{idle[0]} = {whole[idle[0]]!r} is about several trained networks, and "
            "config.teacher.name = 'ema' has none. Leave it out."
        )
    if whole.name == "none" and not known:
        idle += ["cache"] if whole.cache else []
        if idle:
            raise InputError(
                f"config.teacher.{idle[0]} = {whole[idle[0]]!r} is about trained networks, and "
                "config.teacher names none. Give run (the directory of a finished run) or config "
                "(what makes it), or groups of such, or leave it out."
            )
    if whole.cache_dir and whole.cache in (False, True):
        raise InputError(
            f"config.teacher.cache_dir = {whole.cache_dir!r} is where answers are kept on disk, "
            f"and config.teacher.cache = {whole.cache} keeps none there. Say 'float32', 'float16' "
            "or the k largest as in 'top16', or leave cache_dir out."
        )
    if whole.name != "ema" and whole.decay != TEACHER["decay"]:
        raise InputError(
            f"config.teacher.decay = {whole.decay} is about a mean of the student's own weights, "
            "config.teacher.name = 'ema'. Leave it out."
        )
    if not 0 <= whole.decay < 1:
        raise InputError(
            f"config.teacher.decay: expected a number from 0 up to 1, without 1, got {whole.decay}."
        )
    if whole.name == "frozen" and not known:
        raise InputError(
            "config.teacher: give run (the directory of a finished run) or config (what makes it), "
            "or groups of such."
        )
    return whole


def _cache(value: Any) -> bool | str:
    """`teacher.cache` as a config holds it, from the "true" of a command line, too."""
    words = {"true": True, "false": False}
    value = words.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(value, bool) or re.fullmatch(CACHE, str(value)):
        return value
    raise InputError(
        "config.teacher.cache: expected True, False, 'float32', 'float16', or the k largest logits "
        f"as in 'top16', got {value!r}."
    )


def members_text(members: Any) -> Any:
    """Members as a config holds them, "0,2", from an index, several, or the "(0, 2)" of a command
    line.
    """
    if isinstance(members, int) and not isinstance(members, bool):
        return str(members)
    if isinstance(members, tuple | list):
        return ",".join(str(i) for i in members)
    if isinstance(members, str):
        return re.sub(r"[()\[\]\s]", "", members).strip(",")
    return members


def check_members(where: str, members: str) -> None:
    """Raises InputError where `members` is no such text, or names one twice."""
    if not re.fullmatch(r"all|paired|\d+(,\d+)*", members):
        raise InputError(
            f"{where}.members: expected 'all', 'paired' or indices such as (0, 2), got {members!r}."
        )
    if len(set(members.split(","))) < len(members.split(",")):
        raise InputError(f"{where}.members: {members!r} names a member twice.")


def _check_values(config: ConfigDict) -> None:
    positive = ("seeds", "batch_size", "epochs", "steps_per_call")
    for key in (*positive, "eval_every", "eval_batch_size"):
        if config[key] < 1:
            raise InputError(f"config.{key}: expected 1 or more, got {config[key]}.")
    if not 0 <= config.seed <= 2**31 - config.seeds:
        raise InputError(
            f"config.seed: expected 0 to {2**31 - config.seeds}, got {config.seed}: larger ones "
            "would repeat smaller ones."
        )
    if config.checkpoint.keep < 1:
        raise InputError(
            f"config.checkpoint.keep: expected 1 or more, got {config.checkpoint.keep}."
        )
    if config.teacher.cache_window < 0:
        raise InputError(
            "config.teacher.cache_window: expected a number of epochs, 0 for none, got "
            f"{config.teacher.cache_window}."
        )
    if config.profile < 0:
        raise InputError(
            f"config.profile: expected a number of updates, 0 for no trace, got {config.profile}."
        )
    for key in ("holdout", "validation"):
        if not 0 <= config[key] < 1:
            raise InputError(
                f"config.{key}: expected a share of train in [0, 1), got {config[key]}."
            )
    choices = {
        "seeds_how": ("auto", "vmap", "map", "unroll"),
        "loop": ("auto", "device", "host"),
        "precision": ("default", "float32", "tf32", "bfloat16"),
        "teacher.reduce": ("probs", "logits", "each", "random", "confidence"),
        "teacher.how": ("auto", "vmap", "map", "unroll"),
        "devices.transform": ("jit", "pmap"),
        "export": ("", "int8"),
    }
    for key, known in choices.items():
        section, _, last = key.rpartition(".")
        value = (config[section] if section else config).get(last, known[0])
        if value not in known:
            raise unknown(f"value of config.{key}", str(value), known)
    check_members("config.teacher", config.teacher.get("members", "all"))
    if config.init.take and not (config.init.run or config.init.config):
        raise InputError(
            "config.init.take: nothing to take from. Give config.init.run (the directory of a "
            "finished run) or config (what makes it)."
        )
    try:
        re.compile(config.init.take)
    except re.error as error:
        raise InputError(
            f"config.init.take: {config.init.take!r} is no regular expression: {error}."
        ) from error
    for label, reference in config.compare.items():
        if not isinstance(reference, str):
            raise InputError(
                f"config.compare[{label!r}]: expected a config such as "
                f"'configs/digits.py:role=labels', got {reference!r}."
            )
    for key, value in leaves(config.to_dict()):
        _check_plain(key, value)


def _check_plain(key: str, value: Any) -> None:
    """Raises InputError for what JSON cannot hold: a run is told from others by its config's
    text.
    """
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise InputError(
            f"config.{key}: expected plain data (numbers, texts, tuples of them), got {value!r} "
            f"({type(value).__name__})."
        ) from None


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of a dotted key and its value, for each value of nested dicts that is no dict of its
    own with keys.
    """
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, tree


def default_workdir(reference: str, root: os.PathLike | str = "runs") -> epath.Path:
    """`runs/NAME` or `runs/NAME-arguments` for the config `FILE.py:arguments`; `root` may be a
    bucket.
    """
    path, _, arg = reference.partition(":")
    name = Path(path).stem + (f"-{arg}" if arg else "")
    return epath.Path(root) / re.sub(r"[^\w.=,+-]", "_", name)
