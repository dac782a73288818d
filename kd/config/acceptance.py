"""The section `acceptance` of a config: its keys and their values."""

from collections.abc import Mapping

from kd import ranges
from kd.config.defaults import ACCEPTANCE, LIMITS, ConfigDict
from kd.errors import unknown
from kd.ranges import Fraction
from kd.values import of_type

OF_EACH = ("recall", "precision", "f1")
"""Scores of each class, whose limits may be a dict by class."""


def complete(section: ConfigDict) -> ConfigDict:
    """The section over `ACCEPTANCE`; of `LIMITS`, the keys that it has.

    Raises:
      InputError: an unknown key, or a value that is no fraction (or dict of fractions by class).
    """
    merged = ConfigDict(ACCEPTANCE)
    for key, value in section.items():
        if key in ACCEPTANCE:
            merged[key] = of_type(f"acceptance.{key}", ACCEPTANCE[key], value)
            continue
        if key not in LIMITS:
            raise unknown("key of config.acceptance", key, {**ACCEPTANCE, **LIMITS})
        plain = value.to_dict() if isinstance(value, ConfigDict) else value
        by_class = any(score in key for score in OF_EACH)
        allowed = Fraction | Mapping[str, Fraction] if by_class else Fraction
        ranges.check(f"config.acceptance.{key}", allowed, plain)
        merged[key] = ConfigDict(plain) if isinstance(plain, dict) else float(plain)
    return merged


def opened(section: ConfigDict, key: str) -> ConfigDict:
    """The section with a key that an override sets. Raises InputError for an unknown key."""
    section = ConfigDict(section.to_dict() or ACCEPTANCE)
    if key not in {"", *ACCEPTANCE, *LIMITS}:
        raise unknown("key of config.acceptance", key, {**ACCEPTANCE, **LIMITS})
    if key in LIMITS and not isinstance(section.get(key), float):
        section[key] = LIMITS[key]
    return section


def placed(section: ConfigDict, key: str, limits: Mapping[str, float]) -> ConfigDict:
    """The section with limits by class, such as `min_recall` {"8": 0.75}, in place of a number.
    Raises InputError for an unknown key.
    """
    section = opened(section, key)
    with section.ignore_type():
        section[key] = ConfigDict(limits)
    return section
