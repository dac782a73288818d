"""The part of a config that identifies a run: what decides the result of training, hashed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kd.config import shipped
from kd.config.check import leaves
from kd.config.defaults import LABELS, ConfigDict

REPORTING = (
    "compare",
    "acceptance",
    "checkpoint",
    "tensorboard",
    "devices",
    "profile",
    "compilation_cache",
)
"""Keys that change what is reported, stored or used, but not what is learned."""


PLACE = ("data_dir", "workers")
"""Keys of section `data` that say where the data are and how they are read, not what they are."""

PLACE_OF_CACHE = "cache_dir"
"""Key of section `teacher`: the directory of the cache."""

FILES_OF_TEACHER = ("logits", "features", "variables", "onnx")
"""Keys of section `teacher` that name a file. Where its `digest` is known, this identifies it."""

LATER_KEYS = {"accumulate": 1, "mix": "", "repeats": 1}
"""Keys of a config that were added later, with their defaults, as `LATER`."""

LATER = {"arrays": {"classes": None, "channels": None}}
"""Settings of data sets that were added later, with their defaults, by the name of the data set. At
their default they are left out, so that earlier runs keep their identity.
"""

LATER_OF_OPTIMIZERS = ("layer_decay",)
"""Settings of all optimizers that were added later; left out where they are 0."""

LATER_OF_TEACHER = {"frozen": {"input": None}}
"""Likewise of kinds of teacher."""

LATER_OF_INIT = {"freeze": "", "other_data": False}
"""Keys of `init` that were added later, with their defaults."""


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config that decide what is learned, as JSON data with sorted keys."""
    config = config.to_dict() if isinstance(config, ConfigDict) else config
    kept = {k: v for k, v in config.items() if k not in REPORTING}
    kept = {k: v for k, v in kept.items() if k not in LATER_KEYS or v != LATER_KEYS[k]}
    data = kept.get("data", {})
    later = LATER.get(data.get("name"), {})
    at_default = {k for k, default in later.items() if data.get(k) == default}
    sampling = {"sampling"}  # it is later than the others
    if data.get("sampling") == LABELS["sampling"]:
        at_default |= sampling
    if not data.get("labelled") and data.get("unlabelled", "keep") == "keep":
        at_default |= LABELS.keys() - sampling  # as before these keys existed
    data = {k: v for k, v in data.items() if k not in PLACE and k not in at_default}
    teacher = kept.get("teacher", {})
    later = LATER_OF_TEACHER.get(teacher.get("name"), {})
    teacher = {k: v for k, v in teacher.items() if k not in later or v != later[k]}
    places = (PLACE_OF_CACHE, *(FILES_OF_TEACHER if teacher.get("digest") else ()))
    teacher = {k: v for k, v in teacher.items() if k not in places}
    later = LATER_OF_INIT
    init = {k: v for k, v in kept.get("init", {}).items() if k not in later or v != later[k]}
    optimizer = kept.get("optimizer", {})
    later = {k: 0.0 for k in LATER_OF_OPTIMIZERS}
    optimizer = {k: v for k, v in optimizer.items() if k not in later or v != later[k]}
    kept |= {"optimizer": optimizer} if optimizer else {}
    kept |= {"data": data, "teacher": shipped.as_paths(teacher)}
    kept |= {"init": shipped.as_paths(init)} if init else {}
    return json.loads(json.dumps(kept, sort_keys=True))


def config_hash(config: Mapping[str, Any]) -> str:
    """The first twelve hexadecimal digits of the sha256 of `identity`."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Lines `key: value here, value there` for each key in which two identities differ."""
    a, b = (dict(leaves(identity(config))) for config in (ours, theirs))
    absent = "absent"
    return [
        f"{key}: {a.get(key, absent)!r} here, {b.get(key, absent)!r} there"
        for key in sorted({*a, *b})
        if a.get(key, absent) != b.get(key, absent)
    ]


def same_data_settings(one: ConfigDict, other: ConfigDict) -> bool:
    """True if two configs, spelled out, name and split their data alike. Others may have the same
    examples, too.
    """
    return all(one[k] == other[k] for k in ("data", "holdout", "validation", "train_classes"))
