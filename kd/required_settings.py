"""Settings without a default, which arguments of the command line set."""

from collections.abc import Sequence
from typing import Any

from kd import registry
from kd.config import ConfigDict

PACKAGES = {
    "data": ("kd.data", "load"),
    "student": ("kd.models", None),
    "objective": ("kd.objectives", None),
}
"""Section: where the things are that it names."""


def opened(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """The config with None for each setting that has no default and that an argument sets, such as
    the `path` of a data set that another argument names.

    Args:
      config: spelled out.
      arguments: `--config.key=value`.
    """
    config = ConfigDict(config.to_dict())
    for argument in arguments:
        *path, key = argument.partition("=")[0].removeprefix("--config.").split(".")
        section: Any = config
        for part in path:
            section = section.get(part) if isinstance(section, ConfigDict) else None
        if not path or path[0] not in PACKAGES or not isinstance(section, ConfigDict):
            continue
        if "name" in section and key not in section:
            package, attribute = PACKAGES[path[0]]
            if key in registry.required(registry.find(package, section.name, attribute)):
                section[key] = None
    return config.lock()
