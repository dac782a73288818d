"""The parts of a run, made from its config: data, student, objective, optimizer."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import optax

from kd import build, optim
from kd.config import ConfigDict
from kd.data import load as load_data
from kd.data.base import Dataset, hold_out, keep_classes, keep_validation
from kd.errors import InputError
from kd.loop import Plan
from kd.objective import PerTeacher, Weighted

RESERVED = ("loss", "accuracy", "grad_norm")
"""Names of metrics that every step reports."""

SHAPED = ("num_classes",)
"""Settings of a model that its data decide."""


def spell_out(config: ConfigDict) -> ConfigDict:
    """The config with every default of the things that it names, so that what a run did can be read from it alone.

    Raises:
      InputError: a name that does not exist, a setting that the named thing does not take or of another type.
    """
    config = ConfigDict(config.to_dict())
    data, student = config.data, config.student
    config.data = _spelled(build.find("kd.data", data.name, "load"), data, "data")
    config.student = _spelled(build.find("kd.models", student.name), student, "student")
    for key, returns in (
        ("optimizer", optax.GradientTransformation),
        ("schedule", optim.Curve),
    ):
        maker = build.find_in("kd.optim", key, config[key].name, returns)
        section = _spelled(maker, config[key], key, keep=(*optim.EXTRA, "value"))
        config[key] = section
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
                f"config.objective.{term}: expected a dict with a name and a weight, got {section!r}."
            )
        maker = build.find("kd.objectives", section.get("name") or "")
        if "weight" not in section:
            section.weight = 1.0
        config.objective[term] = _spelled(
            maker, section, f"objective.{term}", keep=("weight",)
        )
    return config.lock()


def _spelled(
    maker: Callable, section: ConfigDict, where: str, keep: tuple[str, ...] = ()
) -> ConfigDict:
    own = ("name", *keep)
    given = {k: v for k, v in section.to_dict().items() if k not in own}
    settings = build.settings(maker, given, where)
    head = {k: section[k] for k in own if k in section}
    return ConfigDict(
        {**head, **{k: v for k, v in settings.items() if k not in SHAPED}}
    )


def _settings(section: Mapping[str, Any], *own: str) -> dict[str, Any]:
    return {k: v for k, v in section.items() if k not in ("name", *own)}


def make_data(config: ConfigDict) -> Dataset:
    """The data set; where a share of train is held out, that share is its `test`.

    Classes are left out of train last: what is held out has all of them.
    """
    dataset = _load(json.dumps(config.data.to_dict()), config.holdout)
    if config.validation:
        dataset = keep_validation(dataset, config.validation)
    if config.train_classes:
        dataset = keep_classes(dataset, config.train_classes)
    return dataset


@functools.lru_cache(maxsize=2)  # a run and its teacher mostly share their data
def _load(section: str, holdout: float) -> Dataset:
    settings = json.loads(section)
    dataset = load_data(settings["name"], **_settings(settings))
    return hold_out(dataset, holdout) if holdout else dataset


def make_model(section: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The network that a section `student` names, for so many classes."""
    maker = build.find("kd.models", section["name"])
    settings = {**_settings(section), "num_classes": num_classes}
    return build.make(maker, settings, f"student {section['name']}")


def make_objective(
    section: Mapping[str, Any], each: bool, steps_per_epoch: int, epochs: int
) -> Weighted:
    """The weighted sum of a section `objective`; where each of several teachers counts on its own, its terms are lifted."""
    terms, weights = {}, {}
    for term, spec in section.items():
        maker = build.find("kd.objectives", spec["name"])
        objective = build.make(
            maker, _settings(spec, "weight"), f"objective {spec['name']}"
        )
        terms[term] = PerTeacher(objective) if each else objective
        weight = spec["weight"]
        scheduled = isinstance(weight, Mapping)
        weights[term] = (
            optim.make_schedule(weight, steps_per_epoch, epochs)
            if scheduled
            else float(weight)
        )
    return Weighted(terms, weights)


def make_tx(config: ConfigDict, plan: Plan) -> optax.GradientTransformation:
    """The optimizer with its schedule."""
    schedule = optim.make_schedule(
        config.schedule.to_dict(), plan.steps_per_epoch, config.epochs
    )
    return optim.make_optimizer(config.optimizer.to_dict(), schedule)
