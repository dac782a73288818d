"""Objects from sections of a config: data set, student, objective, optimizer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import optax

from kd import config as configs
from kd import optim, ranges, registry
from kd.config import ConfigDict, override
from kd.config.defaults import LABELS, LABELS_RANGES, TEACHER
from kd.config.teachers import complete_groups
from kd.data import load
from kd.data.base import Dataset, select
from kd.errors import InputError, unknown
from kd.models.adapted import adapt
from kd.models.contract import check_maker
from kd.models.peers import peers
from kd.names import trust
from kd.objective import PerGroup, PerTeacher, Weighted
from kd.quantize.student import Quantized
from kd.ranges import NonNegative
from kd.teachers import kind
from kd.values import of_type

RESERVED = ("loss", "accuracy", "grad_norm")
"""Names of metrics that every step reports."""

DECIDED = ("num_classes",)
"""Settings of a model that are taken from the data, never from a config."""

STUDENT = {"quantize": ""}
"""Keys of section `student` that are no settings of the network. `quantize` is "" or "int8", see
`kd.quantize.student`.
"""


def spell_out(config: ConfigDict) -> ConfigDict:
    """The config with every default of the things that it names, so that it says what a run does.

    Raises:
      InputError: an unknown name, or a setting that the named thing does not take or of another
        type.
    """
    config = ConfigDict(config.to_dict())
    maker = registry.find("kd.data", config.data.name, "load")
    labels = _labels(maker)
    limits = {key: LABELS_RANGES[key] for key in labels if key in LABELS_RANGES}
    config.data = _with_defaults(maker, config.data, "data", labels, limits)
    config.student = _spell_student(config.student)
    maker = registry.find_in(
        "kd.optim", "optimizer", config.optimizer.name, optax.GradientTransformation
    )
    config.teacher = ConfigDict(kind.complete(complete_groups(config.teacher).to_dict(), TEACHER))
    extra = dict.fromkeys(optim.EXTRA, 0.0)
    limits = optim.CUSTOMARY | optim.EXTRA
    config.optimizer = _with_defaults(maker, config.optimizer, "optimizer", extra, limits)
    config.schedule = _spell_schedule(config.schedule, "schedule")
    if not config.objective:
        raise InputError("config.objective is empty: the student has nothing to learn.")
    for term in list(config.objective):
        config.objective[term] = _spell_term(term, config.objective[term])
    return config.lock()


def _spell_student(section: ConfigDict) -> ConfigDict:
    for key in DECIDED:
        if key in section:
            raise InputError(f"config.student.{key}: the data decide it. Leave it out.")
    maker = registry.find("kd.models", section.name)
    check_maker(maker, section.name)
    section = _with_defaults(maker, section, "student", STUDENT)
    if section.quantize not in ("", "int8"):
        raise unknown("value of config.student.quantize", section.quantize, ("int8", ""))
    return ConfigDict({k: v for k, v in section.items() if k not in DECIDED})


def _spell_term(term: str, section: object) -> ConfigDict:
    if term in RESERVED:
        raise InputError(
            f"config.objective.{term}: the name is taken by a metric. Name the term otherwise."
        )
    if not isinstance(section, ConfigDict):
        raise InputError(
            f"config.objective.{term}: expected a dict with a name and a weight, got {section!r}."
        )
    maker = registry.find("kd.objectives", section.get("name") or "")
    key = f"objective.{term}"
    weight = section.get("weight", 1.0)
    if isinstance(weight, ConfigDict):
        weight = _spell_schedule(weight, f"{key}.weight")
    else:
        weight = of_type(f"{key}.weight", 1.0, weight)
        ranges.check(f"config.{key}.weight", NonNegative, weight)
    settings = ConfigDict({k: v for k, v in section.items() if k != "weight"})
    return _with_defaults(maker, settings, key, {"weight": weight})


def _spell_schedule(section: ConfigDict, key: str) -> ConfigDict:
    """The section of a schedule: the settings of its curve, and the `value` that they multiply."""
    maker = registry.find_in("kd.optim", "schedule", section.get("name") or "", optim.Curve)
    return _with_defaults(maker, section, key, {"value": 1.0}, {"value": NonNegative})


def _with_defaults(
    maker: Callable,
    section: ConfigDict,
    key: str,
    extra: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> ConfigDict:
    """The section over the defaults of its maker.

    Args:
      maker: what the section's name stands for.
      section: as the user wrote it.
      key: of the section in the config.
      extra: keys of the section that the maker does not take, with their defaults.
      limits: annotations of numbers of the section, besides those that the maker declares.
    """
    settings = section.to_dict()
    head = {"name": settings.pop("name")}
    for name, default in (extra or {}).items():
        head[name] = of_type(f"{key}.{name}", default, settings.pop(name, default))
    filled = {**head, **registry.settings(maker, settings, key)}
    for name, annotation in (limits or {}).items():
        if ranges.is_number(filled.get(name)):
            ranges.check(f"config.{key}.{name}", annotation, filled[name])
    return ConfigDict(filled)


def load_config(reference: str) -> ConfigDict:
    """The config of `FILE.py[:arguments]`, spelled out. Raises InputError."""
    return spell_out(configs.load(reference))


def overridden(config: ConfigDict, arguments: list[str]) -> ConfigDict:
    """The config, spelled out, after `--config.key=value` arguments. Raises InputError."""
    if not arguments:
        return spell_out(config)
    config, rest = override.rename(config, arguments)
    config = spell_out(config)
    return spell_out(override.override(config, rest, _required(config)))


def _required(config: ConfigDict) -> set[str]:
    """Dotted keys of the settings without a default, of all that a config names."""
    named = {
        "data": ("kd.data", config.data, "load"),
        "student": ("kd.models", config.student, None),
    }
    named |= {f"objective.{t}": ("kd.objectives", s, None) for t, s in config.objective.items()}
    return {
        f"{path}.{key}"
        for path, (package, section, attribute) in named.items()
        for key in registry.required(registry.find(package, section.name, attribute))
    }


def as_today(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config with later keys at their defaults.

    Settings of things that cannot be built now, or that a stored config may not name
    (`kd.names.trust`), stay as they are stored.
    """
    try:
        completed = configs.complete(ConfigDict(dict(stored)))
    except InputError:
        return dict(stored)
    try:
        with trust.stored("this run directory"):
            return spell_out(completed).to_dict()
    except InputError:
        return completed.to_dict()


def needs(config: ConfigDict) -> dict[str, tuple[str, ...]]:
    """What the objective of each term declares as `needs`, beyond logits and features.

    See `kd.features.require`.
    """
    declared = {}
    for term, spec in config.objective.to_dict().items():
        maker = registry.find("kd.objectives", spec["name"])
        module = registry.make(maker, settings_of(spec, "weight"), f"objective.{term}")
        declared[term] = tuple(getattr(module, "needs", ()))
    return declared


def settings_of(section: Mapping[str, Any], *extra: str) -> dict[str, Any]:
    """The settings of a section's maker: all keys but `name` and `extra`."""
    return {k: v for k, v in section.items() if k not in ("name", *extra)}


def _labels(maker: Callable) -> dict[str, Any]:
    """`LABELS`, without the keys that a loader takes itself."""
    keywords = registry.keywords_of(maker) or ()
    return {key: default for key, default in LABELS.items() if key not in keywords}


def labels_of(config: ConfigDict) -> dict[str, Any]:
    """`LABELS` of a config; at its default is a key that the data set's loader takes itself."""
    keys = _labels(registry.find("kd.data", config.data.name, "load"))
    return LABELS | {key: config.data.get(key, default) for key, default in keys.items()}


def stored_data(config: ConfigDict) -> Dataset:
    """The data set of a config as it is stored, before images are held out or left out."""
    section = config.data.to_dict()
    keys = _labels(registry.find("kd.data", section["name"], "load"))
    return load(section["name"], **settings_of(section, *keys))


def make_data(config: ConfigDict, stored: Dataset | None = None) -> Dataset:
    """The data set of a config. A part of train that is held out becomes its `test`.

    Args:
      config: spelled out.
      stored: in place of `stored_data`.
    """
    labels = labels_of(config)
    del labels["sampling"]  # what is in the data set, not how a run goes over it
    dataset = stored_data(config) if stored is None else stored
    classes = config.train_classes
    return select(dataset, config.holdout, config.validation, classes, **labels)


def make_model(section: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The network of a section `student`; quantization-aware if the section says so.

    Args:
      section: spelled out.
      num_classes: of the data.
    """
    maker = registry.find("kd.models", section["name"])
    check_maker(maker, section["name"])
    settings = {**settings_of(section, *STUDENT), "num_classes": num_classes}
    net = registry.make(maker, settings, f"student {section['name']}")
    net = adapt(net, f"config.student {section['name']}")
    if not section.get("quantize"):
        return net
    if len(peers(net)) > 1:
        raise InputError(
            f"config.student.quantize: {section['name']} is several networks, and training on "
            "eight bits is of one. Leave it out."
        )
    return Quantized(net)


def make_objective(
    section: Mapping[str, Any],
    each: Sequence[Sequence[float] | None],
    steps_per_epoch: int,
    epochs: int,
) -> Weighted:
    """The weighted sum of a section `objective`.

    Args:
      section: spelled out.
      each: with `teacher.reduce = "each"`, the weights of the members of each group, or None for
        equal weights in one group: terms are lifted to the members. Else empty.
      steps_per_epoch: for weights that are schedules.
      epochs: likewise.
    """
    terms, weights = {}, {}
    for term, spec in section.items():
        maker = registry.find("kd.objectives", spec["name"])
        make = partial(
            registry.make, maker, settings_of(spec, "weight"), f"objective {spec['name']}"
        )
        lifted = [PerTeacher(make(), counts) for counts in each]
        terms[term] = PerGroup(lifted) if len(lifted) > 1 else lifted[0] if lifted else make()
        weight, key = spec["weight"], f"config.objective.{term}.weight"
        weights[term] = (
            optim.make_schedule(weight, steps_per_epoch, epochs, key=key)
            if isinstance(weight, Mapping)
            else float(weight)
        )
    return Weighted(terms, weights)


def make_tx(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimizer with its schedule."""
    schedule = optim.make_schedule(
        config.schedule.to_dict(), steps_per_epoch, config.epochs, key="config.schedule"
    )
    return optim.make_optimizer(config.optimizer.to_dict(), schedule)
