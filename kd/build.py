"""The parts of a run, made from its config: data, student, objective, optimizer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import optax

from kd import config as configs
from kd import optim, registry
from kd.config import ConfigDict, override
from kd.config.defaults import TEACHER
from kd.config.teachers import complete_groups
from kd.data import load
from kd.data.base import Dataset, hold_out, keep_classes, keep_validation
from kd.errors import InputError, unknown
from kd.models.peers import peers
from kd.objective import PerGroup, PerTeacher, Weighted
from kd.quantize.student import Quantized
from kd.teachers import kind
from kd.values import of_type

RESERVED = ("loss", "accuracy", "grad_norm")
"""Names of metrics that every step reports."""

DECIDED = ("num_classes",)
"""Settings of a model that its data decide, so that no config gives them."""

STUDENT = {"quantize": ""}
"""Keys of section `student` that are not the network's own: `quantize` is "" or "int8", see
`kd.quantize.student`.
"""


def spell_out(config: ConfigDict) -> ConfigDict:
    """The config with every default of the things that it names, so that what a run did can be read
    from it alone.

    Raises:
      InputError: a name that does not exist, a setting that the named thing does not take or of
        another type.
    """
    config = ConfigDict(config.to_dict())
    data, student = config.data, config.student
    config.data = _spelled(registry.find("kd.data", data.name, "load"), data, "data")
    for key in DECIDED:
        if key in student:
            raise InputError(f"config.student.{key}: the data decide it. Leave it out.")
    maker = registry.find("kd.models", student.name)
    whole = _spelled(maker, student, "student", STUDENT)
    if whole.quantize not in ("", "int8"):
        known = ("int8", "")
        raise unknown("value of config.student.quantize", whole.quantize, known)
    config.student = ConfigDict({k: v for k, v in whole.items() if k not in DECIDED})
    maker = registry.find_in(
        "kd.optim", "optimizer", config.optimizer.name, optax.GradientTransformation
    )
    config.teacher = _teacher(config.teacher)
    own = dict.fromkeys(optim.EXTRA, 0.0)
    config.optimizer = _spelled(maker, config.optimizer, "optimizer", own)
    config.schedule = _curve(config.schedule, "schedule")
    if not config.objective:
        raise InputError("config.objective is empty: the student has nothing to learn.")
    for term in list(config.objective):
        section = config.objective[term]
        if term in RESERVED:
            raise InputError(
                f"config.objective.{term}: the name is taken by a metric. Name the term otherwise."
            )
        if not isinstance(section, ConfigDict):
            raise InputError(
                f"config.objective.{term}: expected a dict with a name and a weight, got "
                f"{section!r}."
            )
        maker = registry.find("kd.objectives", section.get("name") or "")
        where = f"objective.{term}"
        weight = section.get("weight", 1.0)
        if isinstance(weight, ConfigDict):
            weight = _curve(weight, f"{where}.weight")
        else:
            weight = of_type(f"{where}.weight", 1.0, weight)
        settings = ConfigDict({k: v for k, v in section.items() if k != "weight"})
        config.objective[term] = _spelled(maker, settings, where, {"weight": weight})
    return config.lock()


def overridden(config: ConfigDict, arguments: list[str]) -> ConfigDict:
    """The config, spelled out, after `--config.key=value` arguments. Raises InputError."""
    config, rest = override.rename(config, arguments)
    return spell_out(override.override(spell_out(config), rest))


def as_today(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config with the keys that have come since, at their defaults; as it is where its
    things are gone.
    """
    try:
        return spell_out(configs.complete(ConfigDict(dict(stored)))).to_dict()
    except InputError:
        return dict(stored)


def needs(config: ConfigDict) -> dict[str, tuple[str, ...]]:
    """What each term's objective declares as `needs`, beyond logits and features; see
    `kd.features.require`.
    """
    find = lambda spec: registry.find("kd.objectives", spec.name)
    return {
        term: tuple(getattr(find(spec), "needs", ())) for term, spec in config.objective.items()
    }


def _teacher(section: ConfigDict) -> ConfigDict:
    """The section `teacher` with the defaults of its groups and its kind."""
    return ConfigDict(kind.complete(complete_groups(section).to_dict(), TEACHER))


def _curve(section: ConfigDict, where: str) -> ConfigDict:
    """The section of a schedule: its curve's settings and the `value` that they multiply."""
    maker = registry.find_in("kd.optim", "schedule", section.get("name") or "", optim.Curve)
    return _spelled(maker, section, where, {"value": 1.0})


def _spelled(
    maker: Callable, section: ConfigDict, where: str, own: Mapping[str, Any] | None = None
) -> ConfigDict:
    """The section over its defaults: the maker's, and of those keys (`own`) that are the section's
    and not the maker's.
    """
    own = own or {}
    given = section.to_dict()
    head = {"name": given.pop("name")}
    for key, standard in own.items():
        head[key] = of_type(f"{where}.{key}", standard, given.pop(key, standard))
    return ConfigDict({**head, **registry.settings(maker, given, where)})


def settings_of(section: Mapping[str, Any], *own: str) -> dict[str, Any]:
    return {k: v for k, v in section.items() if k not in ("name", *own)}


def make_data(config: ConfigDict) -> Dataset:
    """The data set; where a share of train is held out, that share is its `test`.

    Classes are left out of train last: what is held out has all of them.
    """
    section = config.data.to_dict()
    dataset = load(section["name"], **settings_of(section))
    if config.holdout:
        dataset = hold_out(dataset, config.holdout)
    if config.validation:
        dataset = keep_validation(dataset, config.validation)
    if config.train_classes:
        dataset = keep_classes(dataset, config.train_classes)
    return dataset


def make_model(section: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The network that a section `student` names, for so many classes; on eight bits where the
    section says so.
    """
    maker = registry.find("kd.models", section["name"])
    settings = {**settings_of(section, *STUDENT), "num_classes": num_classes}
    net = registry.make(maker, settings, f"student {section['name']}")
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

    Where each of several teachers counts on its own, its terms are lifted: `each` has what the
    members of each group count, None where all teachers count the same and are one group.
    """
    terms, weights = {}, {}
    for term, spec in section.items():
        maker = registry.find("kd.objectives", spec["name"])
        make = partial(
            registry.make, maker, settings_of(spec, "weight"), f"objective {spec['name']}"
        )
        lifted = [PerTeacher(make(), counts) for counts in each]
        several = len(lifted) > 1
        terms[term] = PerGroup(lifted) if several else lifted[0] if lifted else make()
        weight = spec["weight"]
        scheduled = isinstance(weight, Mapping)
        weights[term] = (
            optim.make_schedule(weight, steps_per_epoch, epochs) if scheduled else float(weight)
        )
    return Weighted(terms, weights)


def make_tx(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimizer with its schedule."""
    schedule = optim.make_schedule(config.schedule.to_dict(), steps_per_epoch, config.epochs)
    return optim.make_optimizer(config.optimizer.to_dict(), schedule)
