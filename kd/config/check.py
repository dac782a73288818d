"""Checks of a config's values: types, ranges, choices, plain data."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kd import ranges
from kd.config.defaults import OPEN, RANGES, SOURCES, TEACHER, ConfigDict
from kd.errors import InputError, unknown
from kd.values import of_type, wrong_type

CACHE = r"float(32|16)|top[1-9]\d*"
"""Values of `config.teacher.cache` besides True and False."""

RUNS = ("run", "config", "groups")
"""Keys of `config.teacher` that name finished runs."""

DEEPEST = 32
"""How deeply the sections and lists of a config may be nested."""

CHOICES = {
    "seeds_how": ("auto", "vmap", "map", "unroll"),
    "loop": ("auto", "device", "host"),
    "precision": ("default", "float32", "tf32", "bfloat16"),
    "teacher.how": ("auto", "vmap", "map", "unroll"),
    "devices.transform": ("jit", "pmap"),
    "devices.convolutions": ("auto", "xla", "onednn"),
    "export": ("", "int8"),
    "data.unlabelled": ("keep", "drop"),
}
"""Keys with a fixed set of values."""


def checked(key: str, default: Any, value: Any) -> Any:
    """`value` if it has the type of `default`; sections are merged with their defaults."""
    if isinstance(default, ConfigDict):
        if not isinstance(value, Mapping | ConfigDict):
            raise wrong_type(key, default, value)
        value = ConfigDict(dict(value.items()))
        if key in OPEN or not default:
            return value if key == "objective" else _merged(default, value)
        return over(default, value, key)
    return of_type(key, default, value)


def _merged(default: ConfigDict, value: ConfigDict) -> ConfigDict:
    """`value` in its order of keys, then the keys of `default` that it lacks."""
    merged = ConfigDict({k: v for k, v in value.items()})
    for key, fallback in default.items():
        if key not in merged:
            merged[key] = fallback
    return merged


def over(default: Mapping | ConfigDict, value: ConfigDict, section: str) -> ConfigDict:
    """`default` updated by `value`. Raises InputError for unknown keys and wrong types."""
    merged = ConfigDict(dict(default))
    for key, item in value.items():
        if key not in merged:
            raise unknown(f"key of config.{section}", key, merged)
        merged[key] = of_type(f"{section}.{key}", merged[key], item)
    return merged


def complete_teacher(section: ConfigDict) -> ConfigDict:
    """The section `teacher` over its defaults, with its kind named.

    Settings of the kind stay unchecked: `kd.teachers.kind.complete` knows them, which is called
    when the config is spelled out.

    Raises:
      InputError: values or combinations that are wrong for every kind.
    """
    values = dict(section.items())
    if "members" in values:
        values["members"] = members_text(values["members"])
    cache = _cache(values.pop("cache", False))
    kind_settings = {k: values.pop(k) for k in list(values) if k not in TEACHER}
    if kind_settings and not values.get("name"):
        values["name"] = next((SOURCES[key] for key in kind_settings if key in SOURCES), "")
        if kind_settings.keys() == {"input"} and any(values.get(key) for key in RUNS):
            values["name"] = "frozen"
        if not values["name"]:
            known = {**TEACHER, **SOURCES}
            raise unknown("key of config.teacher", next(iter(kind_settings)), known)
    teacher = over(TEACHER, ConfigDict(values), "teacher")
    with teacher.ignore_type():
        teacher.cache = cache
    for key, value in kind_settings.items():
        teacher[key] = value
    names_runs = any(teacher[key] for key in RUNS)
    teacher.name = teacher.name or ("frozen" if names_runs else "none")
    if teacher.name == "none" and not names_runs:
        for key in ("members", "weights", "reduce", "cache"):
            if teacher[key] != TEACHER[key]:
                raise InputError(
                    f"config.teacher.{key} = {teacher[key]!r} is about trained networks, and "
                    "config.teacher names none. Give run (the directory of a finished run), config "
                    "(the config of that run) or groups of such, or leave it out."
                )
    if teacher.cache_dir and teacher.cache in (False, True):
        raise InputError(
            f"config.teacher.cache_dir = {teacher.cache_dir!r} is the directory of a cache on "
            f"disk, and config.teacher.cache = {teacher.cache} writes none. Set cache to "
            "'float32', 'float16' or the k largest as in 'top16', or leave cache_dir out."
        )
    return teacher


def _cache(value: Any) -> bool | str:
    """`teacher.cache` as a config stores it, also from the text "true" of a command line."""
    words = {"true": True, "false": False}
    value = words.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(value, bool) or re.fullmatch(CACHE, str(value)):
        return value
    raise InputError(
        "config.teacher.cache: expected True, False, 'float32', 'float16', or the k largest logits "
        f"as in 'top16', got {value!r}."
    )


def members_text(members: Any) -> Any:
    """Members as a config stores them, "0,2", from an index, a sequence, or text like "(0, 2)"."""
    if isinstance(members, int) and not isinstance(members, bool):
        return str(members)
    if isinstance(members, tuple | list):
        return ",".join(str(i) for i in members)
    if isinstance(members, str):
        return re.sub(r"[()\[\]\s]", "", members).strip(",")
    return members


def check_members(where: str, members: str) -> None:
    """Raises InputError unless `members` is "all", "paired" or distinct indices."""
    if not re.fullmatch(r"all|paired|\d+(,\d+)*", members):
        raise InputError(
            f"{where}.members: expected 'all', 'paired' or indices such as (0, 2), got {members!r}."
        )
    if len(set(members.split(","))) < len(members.split(",")):
        raise InputError(f"{where}.members: {members!r} names a member twice.")


def check_learning_rate(config: ConfigDict) -> None:
    """Raises InputError for a run that would learn nothing. Imported weights have such a config."""
    if config.optimizer.get("learning_rate") == 0 and not (config.init.run or config.init.config):
        raise InputError(
            "config.optimizer.learning_rate: expected a number above 0, got 0: nothing would be "
            "learned. Only students that start with a run's weights (config.init) may keep them."
        )


def check_values(config: ConfigDict) -> None:
    """Raises InputError for values out of range, unknown choices and data that JSON cannot hold."""
    _check_numbers(config)
    for key, choices in CHOICES.items():
        section, _, last = key.rpartition(".")
        value = (config[section] if section else config).get(last, choices[0])
        if value not in choices:
            raise unknown(f"value of config.{key}", str(value), choices)
    check_members("config.teacher", config.teacher.get("members", "all"))
    for key in ("take", "freeze"):
        _check_pattern(config, key)
    for label, reference in config.compare.items():
        if not isinstance(reference, str):
            raise InputError(
                f"config.compare[{label!r}]: expected a config such as "
                f"'configs/digits.py:role=labels', got {reference!r}."
            )
    for key, value in leaves(config.to_dict()):
        _check_plain(key, value)


def _check_pattern(config: ConfigDict, key: str) -> None:
    """Raises InputError unless `config.init.KEY` is a regular expression, of a run's variables."""
    pattern = config.init[key]
    if pattern and not (config.init.run or config.init.config):
        raise InputError(
            f"config.init.{key}: no run to take it from. Give config.init.run (the directory of a "
            "finished run) or config (the config of that run)."
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"config.init.{key}: {pattern!r} is no regular expression: {error}."
        ) from error


def _check_numbers(config: ConfigDict) -> None:
    values = dict(leaves(config.to_dict()))
    for key, annotation in RANGES.items():
        if key in values:
            ranges.check(f"config.{key}", annotation, values[key])
    if not 0 <= config.seed <= 2**31 - config.seeds:
        raise InputError(
            f"config.seed: expected 0 to {2**31 - config.seeds}, got {config.seed}: larger seeds "
            "would repeat smaller ones."
        )


def _check_plain(key: str, value: Any) -> None:
    """Raises InputError for values that JSON cannot hold, NaN and infinity among them: a config's
    text identifies its run.
    """
    try:
        json.dumps(value)
        ranges.check(f"config.{key}", Any, value)
    except InputError:
        raise
    except (TypeError, ValueError):
        raise InputError(
            f"config.{key}: expected plain data (numbers, texts, tuples of them), got "
            f"{ranges.short(value)} ({type(value).__name__})."
        ) from None


def check_depth(value: Any, key: str = "", parents: tuple[int, ...] = ()) -> None:
    """Raises InputError for a section or a list that contains itself, or is nested too deeply.

    Args:
      value: a config, or a part of one.
      key: its place.
      parents: identities of what it is in.
    """
    if isinstance(value, ConfigDict):
        try:
            items: Any = value.items(preserve_field_references=True)
        except TypeError:  # it sorts its keys
            raise InputError(f"config.{key}: a section's keys must be texts.") from None
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return
    if id(value) in parents:
        raise InputError(f"config.{key} contains itself. Write out what it should hold.")
    if len(parents) >= DEEPEST:
        raise InputError(f"config.{key} is nested more than {DEEPEST} deep.")
    for name, item in items:
        if isinstance(value, ConfigDict | Mapping) and not isinstance(name, str):
            raise InputError(f"config.{key}: a section's keys must be texts, not {name!r}.")
        check_depth(item, f"{key}.{name}" if key else str(name), (*parents, id(value)))


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs (dotted key, value) of nested dicts; an empty dict is a value."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, tree
