"""Overrides of a config from the command line, `--config.key=value`."""

from collections.abc import Mapping
from typing import Any, cast

from ml_collections import config_dict

from kd.config.defaults import ACCEPTANCE, OPEN, TEACHER, ConfigDict
from kd.config.loading import complete
from kd.errors import InputError, unknown

FREE = ("cache",)
"""Keys whose values may have several types."""

KEPT = ("weight", "learning_rate", "clip_norm", "max_norm", "value", "quantize")
"""Settings that a section keeps when it names another thing."""


def override(config: ConfigDict, arguments: list[str]) -> ConfigDict:
    """The config after `--config.key=value` arguments, parsed by ml_collections.

    Raises:
      InputError: an unknown key, a value that cannot be parsed, or another argument.
    """
    from absl import flags
    from ml_collections import config_flags

    keys = [a[len("--config.") :].partition("=")[0] for a in arguments if a.startswith("--config.")]
    config = _opened(config, keys)
    for key in keys:
        _require_key(config, key)
    values = flags.FlagValues()
    changed = _fillable(config.to_dict())
    command = ["kd", *arguments]
    try:
        config_flags.DEFINE_config_dict("config", changed, flag_values=values, sys_argv=command)
        rest = values(command)[1:]
    except (flags.Error, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}. Overrides read --config.key=value.")
    return complete(cast(ConfigDict, values["config"].value))


def rename(config: ConfigDict, arguments: list[str]) -> tuple[ConfigDict, list[str]]:
    """Applies the arguments that name another thing, such as `--config.student.name=cnn.CNN`.

    The settings of the thing that was named before are dropped, so that the other arguments can
    set those of the new one.

    Returns:
      The config, and the arguments that are left.
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


def _opened(config: ConfigDict, keys: list[str]) -> ConfigDict:
    """The config with the entries that these keys need and that it lacks.

    Adds the defaults of sections that are empty, lets a teacher's run decide its kind again, and
    lets a kind that is named here have settings.
    """
    config = ConfigDict(config.to_dict())
    for key in keys:
        section, _, rest = key.partition(".")
        if section == "acceptance" and not config.acceptance:
            config.acceptance = ConfigDict(ACCEPTANCE)
        if section == "compare" and rest and rest not in config.compare:
            config.compare[rest] = ""
    named = {f"teacher.{key}" for key in ("run", "config", "groups")} & {*keys}
    if named and "teacher.name" not in keys and config.teacher.name == "none":
        config.teacher.name = ""  # "none" was only the default without a run
    if "teacher.name" in keys:
        config.teacher = ConfigDict({k: v for k, v in config.teacher.items() if k in TEACHER})
        settings = [key.partition(".")[2] for key in keys if key.startswith("teacher.")]
        for key in settings:
            if key not in TEACHER and "." not in key:
                config.teacher[key] = None
    return config


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
