"""Resources of each run, as in `--each gpus=1,cpus=4,time=4:00:00,partition=gpu`."""

import re
from collections.abc import Mapping

from kd.errors import InputError

EXAMPLE = "gpus=1,cpus=4,time=4:00:00"
COMMA = re.compile(r",(?![^\[]*\])")  # node01,node02 in brackets stay together
KEY = re.compile(r"[a-z][a-zA-Z0-9_-]*")
FORMS = {
    "gpus": (re.compile(r"([A-Za-z][\w.-]*:)?\d+"), "a number, or TYPE:NUMBER"),
    "cpus": (re.compile(r"[1-9]\d*"), "a number from 1"),
    "memory": (re.compile(r"[1-9]\d*[KMGT]?B?"), "a size such as 16G"),
    "time": (re.compile(r"(\d+-)?\d+(:\d\d){0,2}"), "a time such as 4:00:00 or 2-00:00:00"),
}
"""What the settings that all engines know must look like."""


def parse(text: str) -> dict[str, str]:
    """The settings of `--each` by name. Raises InputError for text that is no list of them."""
    settings: dict[str, str] = {}
    for part in COMMA.split(text) if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or not KEY.fullmatch(key):
            raise InputError(f"--each {text}: {part!r} is no KEY=VALUE. Expected {EXAMPLE}.")
        if key in settings:
            raise InputError(f"--each {text}: {key} occurs twice.")
        pattern, expected = FORMS.get(key, (None, ""))
        if pattern is not None and not pattern.fullmatch(value):
            raise InputError(f"--each {text}: {key} is {value!r}, expected {expected}.")
        settings[key] = value
    return settings


def memory(text: str) -> int:
    """Bytes of a size such as 16G; without a unit it is in megabytes, as for Slurm."""
    number, unit = re.fullmatch(r"(\d+)([KMGT]?)B?", text).groups()  # pyrefly: ignore
    return int(number) * 1024 ** ("KMGT".index(unit or "M") + 1)


def text(settings: Mapping[str, str]) -> str:
    """The settings as they are written on the command line."""
    return ",".join(f"{key}={value}" for key, value in settings.items())
