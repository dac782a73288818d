"""Changes of a config from the command line, `--config.key=value`, as everywhere in the field."""

from collections.abc import Mapping
from typing import Any, cast

from ml_collections import config_dict

from kd.config import ACCEPTANCE, OPEN, ConfigDict, complete
from kd.errors import InputError, unknown

FREE = ("cache",)
"""Keys whose values may be of several types."""

KEPT = ("weight", "learning_rate", "clip_norm", "max_norm", "value", "quantize")
"""Settings of a section that stay when it names another thing."""


def override(config: ConfigDict, arguments: list[str]) -> ConfigDict:
    """`config` after `--config.key=value` arguments, parsed by ml_collections as everywhere in the
    field. Raises InputError.
    """
    from absl import flags
    from ml_collections import config_flags

    given = [
        a[len("--config.") :].partition("=")[0] for a in arguments if a.startswith("--config.")
    ]
    config = _opened(config, given)
    for key in given:
        _require_key(config, key)
    values = flags.FlagValues()
    changed = _fillable(config.to_dict())
    command = ["kd", *arguments]
    try:
        config_flags.DEFINE_config_dict("config", changed, flag_values=values, sys_argv=command)
        left = values(command)[1:]
    except (flags.Error, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if left:
        raise InputError(f"unexpected argument {left[0]!r}. Overrides read --config.key=value.")
    return complete(cast(ConfigDict, values["config"].value))


def rename(config: ConfigDict, arguments: list[str]) -> tuple[ConfigDict, list[str]]:
    """The config after those arguments that name another thing, such as
    `--config.student.name=cnn.CNN`, and the rest.

    The settings of the thing that was named before go with it; the rest of the arguments can then
    set the new thing's.
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


def _opened(config: ConfigDict, given: list[str]) -> ConfigDict:
    """The config with what these keys need and it does not say: sections that are empty until
    someone asks, and that there is a teacher.
    """
    config = ConfigDict(config.to_dict())
    for key in given:
        section, _, rest = key.partition(".")
        if section == "acceptance" and not config.acceptance:
            config.acceptance = ConfigDict(ACCEPTANCE)
        if section == "compare" and rest and rest not in config.compare:
            config.compare[rest] = ""
    named = {f"teacher.{key}" for key in ("run", "config", "groups")} & {*given}
    if named and "teacher.name" not in given and config.teacher.name == "none":
        config.teacher.name = ""  # "none" was only what a config without one means
    return config


def _fillable(tree: Mapping[str, Any]) -> ConfigDict:
    """A copy in which None, and what FREE names, may be replaced by any literal or text, which
    ml_collections else refuses.
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
