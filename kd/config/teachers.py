"""Who teaches, as a config names them: groups of members, each from the run of one architecture,
and what each member counts.

    config.teacher = dict(config="configs/x.py:role=teacher", members=(0, 2), weights=(2.0, 1.0))
    config.teacher.groups = (
        dict(config="configs/x.py:role=teacher", members="all", weight=2.0),
        dict(run="runs/other", members=(0, 2)),
    )

A teacher of one run is one group. Weights are of any size: `shares` makes their sum one over all
members. Imports no jax.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kd import config as configs
from kd.config import ConfigDict
from kd.errors import InputError, unknown

GROUP: dict[str, Any] = {
    "run": "",  # directory of the run that trained its members
    "config": "",  # config that makes that run where it is missing
    "members": "all",  # "all" | such as "0,2"
    "weight": 1.0,  # of each of its members
    "weights": (),  # one for each of its members, times `weight`; (): all the same
}
"""Keys of each of `config.teacher.groups`."""

ALONE = ("run", "config", "members", "weights")
"""Keys of `config.teacher` that speak of the one run, where there are no groups."""


class Group(NamedTuple):
    """Members of one run. `where` is its place in the config, for messages."""

    where: str
    run: str
    config: str
    members: str = "all"
    weight: float = 1.0
    weights: tuple[float, ...] = ()

    def indices(self, size: int, there: object) -> list[int]:
        """Its members, of a run of `size` seeds in `there`. Raises InputError where one is not
        among them.
        """
        if self.members in ("all", "paired"):
            return list(range(size))
        indices = [int(i) for i in self.members.split(",")]
        if max(indices) >= size:
            raise InputError(
                f"{self.where}.members = {self.members!r}: {there} has members 0 to {size - 1}."
            )
        return indices

    def counts(self, members: int) -> list[float]:
        """What each of its members counts. Raises InputError where there are not as many weights as
        members.
        """
        weights = self.weights or (1.0,) * members
        if len(weights) != members:
            raise InputError(
                f"{self.where}.weights = {self.weights}: {len(weights)} weights for {members} "
                "members."
            )
        return [self.weight * float(weight) for weight in weights]


ALL = Group("config.teacher", "", "")
"""All networks of a run."""


def groups_of(section: ConfigDict) -> tuple[Group, ...]:
    """The groups of a section `teacher`; none without a teacher.

    Raises:
      InputError: a key, a value or a weight that cannot be, or groups beside a run.
    """
    name, given = section.get("name", ""), section.get("groups", ())
    if name in ("none", "ema"):
        return ()
    if not given:
        own: Any = {key: section.get(key, GROUP[key]) for key in ALONE}
        return (_checked(Group("config.teacher", **own)),)
    for key in ALONE:
        if section.get(key, GROUP[key]) != GROUP[key]:
            raise InputError(
                f"config.teacher: {key} = {section[key]!r} speaks of one run, and groups name "
                "several. Put it into a group."
            )
    return tuple(_group(own, i) for i, own in enumerate(given))


def _group(given: Any, place: int) -> Group:
    where = f"config.teacher.groups[{place}]"
    if not isinstance(given, Mapping | ConfigDict):
        raise InputError(f"{where}: expected a dict with a run or a config, got {given!r}.")
    own = dict(GROUP)
    for key, value in given.items():
        if key not in own:
            raise unknown(f"key of {where}", str(key), own)
        if key == "members":
            value = configs.members_text(value)
        own[key] = configs.of_type(f"{where[7:]}.{key}", own[key], value)
    if not (own["run"] or own["config"]):
        raise InputError(
            f"{where}: give run (the directory of a finished run) or config (what makes it)."
        )
    if own["members"] == "paired":
        raise InputError(
            f"{where}.members = 'paired': students are paired with the members of one run. Name it "
            "in config.teacher.run or config.teacher.config."
        )
    return _checked(Group(where, **own))


def _checked(group: Group) -> Group:
    configs.check_members(group.where, group.members)
    for weight in (group.weight, *group.weights):
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight < math.inf:
            raise InputError(f"{group.where}: weights are numbers from 0, got {weight!r}.")
    if group.members == "paired" and group.weights:
        raise InputError(
            f"{group.where}.weights: where student i learns from member i alone there is nothing "
            "to weigh."
        )
    return group


def spelled(section: ConfigDict) -> ConfigDict:
    """The section `teacher` with every default of its groups. Raises InputError."""
    groups = groups_of(section)
    section = ConfigDict(section.to_dict())
    if section.get("groups"):
        section.groups = tuple({k: getattr(g, k) for k in GROUP} for g in groups)
    if section.get("reduce") == "confidence" and any(g.weights or g.weight != 1 for g in groups):
        raise InputError(
            "config.teacher.reduce = 'confidence' weighs the members of each example itself: leave "
            "weight and weights out."
        )
    return section


def known_size(group: Group) -> int | None:
    """How many members a group has, as far as its config tells. Raises InputError where it lacks
    one.
    """
    if group.config:
        size = _networks(configs.load(group.config))
        return len(group.indices(size, group.config))
    return None if group.members in ("all", "paired") else len(group.members.split(","))


def _networks(config: ConfigDict) -> int:
    """How many networks a run leaves: one for each seed, or the peers of a cohort, see
    `kd.models.cohort`.
    """
    student, peers = config.student, 1
    if isinstance(student.get("members"), tuple | list):
        peers = len(student.members)
    elif "member" in student:
        peers = student.get("size", 2)
    return config.seeds * peers


def shares(groups: Sequence[Group], sizes: Sequence[int]) -> list[float]:
    """What each member counts, over all groups, of sum one.

    Raises:
      InputError: other than one weight for each member, or none of them counts.
    """
    counts = [count for g, size in zip(groups, sizes, strict=True) for count in g.counts(size)]
    if not sum(counts) > 0:
        raise InputError(
            f"{groups[0].where.partition('.groups')[0]}: the weights of all members are 0, so that "
            "nobody teaches."
        )
    return [count / sum(counts) for count in counts]


class Recorded(NamedTuple):
    """A group as `result.json` names it."""

    run: str
    members: list[int]
    shares: list[float]  # of the sum one over all groups


def recorded(teacher: Mapping[str, Any] | None) -> list[Recorded]:
    """The groups of the entry `teacher` of a `result.json`: of one run, of several, or none."""
    if teacher is None:
        return []
    groups = teacher.get("groups") or [teacher]
    even = 1 / sum(len(group["members"]) for group in groups)
    return [
        Recorded(g["run"], g["members"], g.get("shares") or [even] * len(g["members"]))
        for g in groups
    ]
