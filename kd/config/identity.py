"""What makes a run this run and no other: the part of its config that decides what is learned."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kd.config import ConfigDict, leaves

REPORTING = (
    "compare",
    "acceptance",
    "checkpoint",
    "tensorboard",
    "devices",
    "profile",
    "compilation_cache",
)
"""Keys that change what is reported, kept or used, but not what is learned: no part of a run's
identity.
"""


PLACE = ("data_dir", "workers")
"""Keys of section `data` that say where it lies and how it is read, not what it is."""

PLACE_OF_CACHE = "cache_dir"
"""Key of section `teacher` that says where its answers lie."""


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides what is learned, as JSON data with sorted keys."""
    config = config.to_dict() if isinstance(config, ConfigDict) else config
    kept = {k: v for k, v in config.items() if k not in REPORTING}
    data = {k: v for k, v in kept.get("data", {}).items() if k not in PLACE}
    teacher = {k: v for k, v in kept.get("teacher", {}).items() if k != PLACE_OF_CACHE}
    kept |= {"data": data, "teacher": teacher}
    return json.loads(json.dumps(kept, sort_keys=True))


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
