"""Overrides of a config from the command line, `--config.key=value`."""

import ast
import functools
import re
from collections.abc import Collection, Mapping
from operator import getitem
from typing import Any, cast

from ml_collections import config_dict

from kd.config import acceptance
from kd.config.defaults import OPEN, SOURCES, TEACHER, ConfigDict
from kd.config.loading import complete
from kd.errors import InputError, unknown
from kd.ranges import short

FREE = ("cache",)
"""Keys whose values may have several types."""

READ_AS = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    tuple: "a tuple such as (16, 32)",
    ConfigDict: "a section, as a dict or key by key",
}
"""What the text of an override is read as, by the type of the value that it replaces."""

KEPT = ("weight", "learning_rate", "clip_norm", "max_norm", "layer_decay", "value", "quantize")
"""Settings that a section keeps when it names another thing."""


def override(
    config: ConfigDict, arguments: list[str], required: Collection[str] = ()
) -> ConfigDict:
    """The config after `--config.key=value` arguments, parsed by ml_collections.

    Args:
      config: spelled out.
      arguments: of the command line.
      required: dotted keys that the config may lack, since they have no default.

    Raises:
      InputError: an unknown key, a value that cannot be parsed, or another argument.
    """
    from absl import flags
    from ml_collections import config_flags

    keys = [a[len("--config.") :].partition("=")[0] for a in arguments if a.startswith("--config.")]
    config = _opened(config, keys, required)
    for key in keys:
        _require_key(config, key)
    values = flags.FlagValues()
    changed = _fillable(config.to_dict())
    command = ["kd", *arguments]
    try:
        config_flags.DEFINE_config_dict("config", changed, flag_values=values, sys_argv=command)
        rest = values(command)[1:]
    except (flags.Error, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(_unreadable(changed, " ".join(str(error).split()))) from error
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}. Overrides read --config.key=value.")
    return complete(cast(ConfigDict, values["config"].value))


def rename(config: ConfigDict, arguments: list[str]) -> tuple[ConfigDict, list[str]]:
    """Applies the arguments that name another thing, such as `--config.student.name=cnn.CNN`.

    The settings of the thing that was named before are dropped, so that the other arguments can
    set those of the new one. Sections that are written as a dict are applied here, too, and new
    terms of the objective.

    Returns:
      The config, and the arguments that are left.
    """
    config = ConfigDict(config.to_dict())
    rest = []
    for argument in arguments:
        path, equals, name = argument.partition("=")
        parts = path.removeprefix("--config.").split(".")
        if equals and path.startswith("--config.") and _place_section(config, parts, name):
            continue
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


def _unreadable(config: ConfigDict, error: str) -> str:
    """Says which value of an override can't be read, and what it is read as.

    Args:
      config: with the values that were to be replaced.
      error: of absl, which begins with the argument, `flag --config.key=value: `.
    """
    match = re.match(r"flag --config\.([^=\s]+)=(.*?): ", error)
    if not match:
        return error
    key, text = match.groups()
    expected = READ_AS.get(type(functools.reduce(getitem, key.split("."), cast(Any, config))))
    return f"config.{key}: expected {expected}, got {short(text)}." if expected else error


def _place_section(config: ConfigDict, parts: list[str], text: str) -> bool:
    """Whether an argument puts a section where another, a number, or nothing is; if so, does it.

    It may be a dict in place of a section, such as `--config.schedule={'name': 'linear'}`; a new
    term of the objective, as a dict or by its name; a schedule, as a dict or by its name, for a
    weight that is a number; and a number for a weight that is a schedule.

    Args:
      config: is changed.
      parts: of the key.
      text: the value.

    Raises:
      InputError: a dict that cannot be read.
    """
    key = ".".join(parts)
    is_new = parts[0] == "objective" and len(parts) == 2  # or replaces a term
    if parts[0] == "objective" and len(parts) > 2:
        term = config.objective.get(parts[1])
        if parts[2:] == ["name"] and term is None:
            config.objective[parts[1]] = ConfigDict({"name": text})
            return True
        if parts[2] == "weight" and isinstance(term, ConfigDict):
            return _place_weight(term, parts[3:], text, key)
    if not text.lstrip().startswith("{"):
        return False
    if parts[0] == "acceptance" and len(parts) == 2:
        config.acceptance = acceptance.placed(config.acceptance, parts[1], _dict(key, text))
        return True
    section: Any = config
    for part in parts[:-1]:
        section = section.get(part) if isinstance(section, ConfigDict) else None
    if not isinstance(section, ConfigDict):
        return False
    if not is_new and not isinstance(section.get(parts[-1]), ConfigDict):
        return False
    section[parts[-1]] = ConfigDict(_dict(key, text))
    return True


def _place_weight(term: ConfigDict, rest: list[str], text: str, key: str) -> bool:
    """`_place_section` for the weight of a term, or for the name of its schedule (`rest`)."""
    weight = term.get("weight", 1.0)
    is_schedule = isinstance(weight, ConfigDict)
    if rest == ["name"] and not is_schedule:
        new: Any = ConfigDict({"name": text, "value": weight})
    elif not rest and text.lstrip().startswith("{"):
        new = ConfigDict(_dict(key, text))
    elif not rest and is_schedule:
        try:
            new = float(text)
        except ValueError:
            raise InputError(
                f"config.{key}: expected a number, or a schedule such as {{'name': 'linear'}}, got "
                f"{short(text)}."
            ) from None
    else:
        return False
    with term.ignore_type():
        term.weight = new
    return True


def _dict(key: str, text: str) -> dict[str, Any]:
    """The dict that a text is. Raises InputError."""
    try:
        value = ast.literal_eval(text.strip())
        assert isinstance(value, dict)
        return value
    except (ValueError, SyntaxError, AssertionError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"config.{key}: expected a dict such as {{'name': 'linear', 'end': 0.5}}, got "
            f"{short(text)}."
        ) from None


def _opened(config: ConfigDict, keys: list[str], required: Collection[str]) -> ConfigDict:
    """The config with the entries that these keys need and that it lacks.

    Adds the defaults of sections that are empty and None for what has no default, lets a teacher's
    run decide its kind again, and lets a kind that is named here have settings.
    """
    config = ConfigDict(config.to_dict())
    for key in keys:
        if key in required:
            *path, setting = key.split(".")
            named: Any = functools.reduce(getitem, path, config)
            named[setting] = named.get(setting)
        section, _, rest = key.partition(".")
        if section == "acceptance" and "." not in rest:
            config.acceptance = acceptance.opened(config.acceptance, rest)
        if section == "compare" and rest and rest not in config.compare:
            config.compare[rest] = ""
    runs = {f"teacher.{key}" for key in ("run", "config", "groups")} & {*keys}
    if runs and "teacher.name" not in keys and config.teacher.name == "none":
        config.teacher.name = ""  # "none" was only the default without a run
    _open_input(config, keys, bool(runs))
    for key in (key for key in SOURCES if f"teacher.{key}" in keys):
        if "teacher.name" not in keys and config.teacher.name in ("", "none", SOURCES[key]):
            kept = {k: v for k, v in config.teacher.items() if k != "digest"}  # of another file
            config.teacher = ConfigDict({key: "", **kept, "name": SOURCES[key]})
    if "teacher.name" in keys:
        config.teacher = ConfigDict({k: v for k, v in config.teacher.items() if k in TEACHER})
        settings = [key.partition(".")[2] for key in keys if key.startswith("teacher.")]
        for key in settings:
            if key not in TEACHER and "." not in key:
                config.teacher[key] = None
    return config


def _open_input(config: ConfigDict, keys: list[str], is_run: bool) -> None:
    """Opens the section `teacher.input` of a teacher that can have one."""
    entries = [key.split(".")[2:] for key in keys if key.split(".")[:2] == ["teacher", "input"]]
    if not entries or not ("input" in config.teacher or is_run):
        return
    if [] in entries:  # the whole section, a dict or None
        config.teacher.input = None
        return
    section = config.teacher.get("input")
    opened = section.to_dict() if isinstance(section, ConfigDict) else {}
    config.teacher.input = ConfigDict({entry[0]: None for entry in entries} | opened)


def _fillable(tree: Mapping[str, Any]) -> ConfigDict:
    """A copy in which None and the keys in FREE accept any literal or text.

    ml_collections refuses these otherwise.
    """
    filled = ConfigDict()
    for key, value in tree.items():
        if isinstance(value, Mapping):
            value = _fillable(value)
        if key in FREE:
            filled[key] = config_dict.FieldReference(value, field_type=object)
            continue
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
