"""Kinds of teacher: what `config.teacher.name` can name.

A kind is one file of this package with a `KIND`, or a `Kind` (or just its `make`) in a module of a
user's own, named by its dotted path:

    def make(context, smoothing=0.1):  # config.teacher = dict(name="mine.make", smoothing=0.2)
        def apply(frozen, state, batch):
            p = jax.nn.one_hot(batch["label"], context.num_classes)
            return Outputs(jnp.log((1 - smoothing) * p + smoothing / context.num_classes))

        return Teacher(apply)
"""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from kd import registry
from kd.errors import InputError, unknown
from kd.teachers import reduction
from kd.types import PyTree, Teacher

ABOUT_RUNS = ("run", "config", "groups", "members", "weights", "reduce", "cache")
"""Keys of `config.teacher` for kinds that learn from finished runs."""

ABOUT_MEMBERS = ("members", "weights", "reduce")
"""Those of them that are about several members, whatever the members are."""


class Context(NamedTuple):
    """What a kind can build its teacher from.

    Attributes:
      student: the student's network, in the precision of the run.
      num_classes: of the data.
      loaded: teacher of the networks of finished runs, with `frozen["teacher"]` as it expects it:
        one network or an ensemble, live or cached. None for kinds without runs.
    """

    student: nn.Module
    num_classes: int
    loaded: Teacher | None = None


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of teacher.

    Attributes:
      name: value of `config.teacher.name`.
      make: `make(context, **settings) -> Teacher`. Keywords with plain defaults are the kind's
        settings, further keys of `config.teacher`.
      description: the teacher in a few words, for error messages and model cards.
      needs_runs: whether its networks come from finished runs. Then the config names them, and may
        choose members, weights, a reduction and a cache. Otherwise these keys are refused.
      ignores_runs: whether these keys are accepted and ignored, to switch a teacher off by its
        name.
      student_variables: picks variables of the student's network from the teacher's state. They are
        evaluated beside the student and their logits stored as `teacher_logits`.
      row: name of these variables in the closing table.
      has_members: whether the config may choose members, their weights and their reduction though
        they come from no run.
      caches: whether its logits may be cached though its networks come from no run.
      spell: completes the settings in a config by what they name, such as the digest of a file.
    """

    name: str
    make: Callable[..., Teacher]
    description: str = ""
    needs_runs: bool = False
    ignores_runs: bool = False
    student_variables: Callable[[PyTree], PyTree] | None = None
    row: str = "teacher"
    has_members: bool = False
    caches: bool = False
    spell: Callable[[dict[str, Any]], dict[str, Any]] = dict

    def __call__(self, context: Context, **settings: Any) -> Teacher:
        """Makes the teacher."""
        return self.make(context, **settings)

    @property
    def keywords(self) -> Mapping[str, inspect.Parameter]:
        """The settings that the kind takes, by name."""
        return inspect.signature(partial(self.make, None)).parameters

    def settings(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """The kind's settings in a section `teacher`."""
        return {key: section[key] for key in self.keywords if key in section}


def kinds() -> dict[str, Kind]:
    """The kinds of this package by name: `KIND` of each file that has one."""
    path = importlib.import_module("kd.teachers").__path__
    modules = [importlib.import_module(f"kd.teachers.{m.name}") for m in pkgutil.iter_modules(path)]
    return {m.KIND.name: m.KIND for m in modules if hasattr(m, "KIND")}


def find(name: str) -> Kind:
    """The kind called `name`, of this package or by dotted path. Raises InputError."""
    known = kinds()
    if name in known:
        return known[name]
    if "." not in name:
        raise unknown("value of config.teacher.name", name, known)
    value = registry.find("kd.teachers", name, kind="kind of teacher")
    return value if isinstance(value, Kind) else Kind(name, value, f"the teacher {name}")


def describe_without_runs(name: str) -> str:
    """The description of a kind that needs no trained networks; "" for one that does.

    The name stands for a kind of a user's module that cannot be imported any more.
    """
    try:
        kind = find(name)
    except InputError:
        return name
    return "" if kind.needs_runs else kind.description


def complete(section: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The section `teacher` with all settings of its kind.

    Args:
      section: from a config, with its groups complete.
      defaults: of the keys that every section has.

    Raises:
      InputError: keys or values that the kind does not take.
    """
    kind = find(section["name"])
    where = f"config.teacher.name = {kind.name!r}"
    for key, parameter in kind.keywords.items():
        if key in defaults and parameter.default != defaults[key]:
            raise InputError(
                f"{where}: its setting {key!r} has the name of another key of config.teacher. "
                "Rename it."
            )
    _check_runs(kind, section, defaults)
    if "decay" not in kind.keywords and section["decay"] != defaults["decay"]:
        raise InputError(
            f"config.teacher.decay = {section['decay']} is a setting of config.teacher.name = "
            f"'ema', and this is {kind.name!r}. Leave it out."
        )
    shared = {key: value for key, value in section.items() if key in defaults}
    settings = {k: v for k, v in section.items() if k in kind.keywords or k not in defaults}
    return kind.spell(shared | registry.settings(partial(kind.make, None), settings, "teacher"))


def _check_runs(kind: Kind, section: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises InputError for keys about finished runs that do not fit the kind or one another."""
    reduce = reduction.find(section["reduce"])
    if not (kind.needs_runs or kind.ignores_runs):
        for key in ABOUT_RUNS:
            takes = (kind.has_members and key in ABOUT_MEMBERS) or (kind.caches and key == "cache")
            if not takes and section[key] != defaults[key]:
                what = f" ({kind.description})" if kind.description else ""
                raise InputError(
                    f"config.teacher.{key} = {section[key]!r} is about networks of finished runs, "
                    f"and config.teacher.name = {kind.name!r}{what} uses none. Leave it out."
                )
    if kind.needs_runs and not (section["run"] or section["config"] or section["groups"]):
        raise InputError(
            "config.teacher: give run (the directory of a finished run), config (the config of "
            "that run), or groups of such."
        )
    groups = section["groups"]
    if reduce.computes_weights and (
        section["weights"] or any(group["weights"] or group["weight"] != 1 for group in groups)
    ):
        raise InputError(
            f"config.teacher.reduce = {section['reduce']!r} computes the weights of the members "
            "for each example: leave weight and weights out."
        )
