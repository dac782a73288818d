"""The section `teacher` of a config: groups of members, one group per run, and their weights.

    config.teacher = dict(config="configs/x.py:role=teacher", members=(0, 2), weights=(2.0, 1.0))
    config.teacher.groups = (
        dict(config="configs/x.py:role=teacher", members="all", weight=2.0),
        dict(run="runs/other", members=(0, 2)),
    )

A teacher of one run is one group. Weights may be of any size: `member_weights` normalises them to
sum one over all members.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kd.config.check import check_members, members_text
from kd.config.defaults import ConfigDict
from kd.config.loading import load
from kd.errors import InputError, unknown
from kd.values import of_type

GROUP: dict[str, Any] = {
    "run": "",  # directory of the run that trained its members
    "config": "",  # config of that run, which is trained if it is missing
    "members": "all",  # "all" | such as "0,2"
    "weight": 1.0,  # of every member of the group
    "weights": (),  # one for each member, times `weight`; (): equal
}
"""Keys of the entries of `config.teacher.groups`."""

SINGLE_RUN = ("run", "config", "members", "weights")
"""Keys of `config.teacher` that describe the one run of a teacher without `groups`."""


class Members(NamedTuple):
    """The members of one group, as the config names them: networks of one run.

    `where` is the place in the config, for error messages.
    """

    where: str
    run: str
    config: str
    members: str = "all"
    weight: float = 1.0
    weights: Sequence[float] = ()

    def indices(self, size: int, workdir: object) -> list[int]:
        """Indices of the members among the `size` networks of the run in `workdir`.

        Raises:
          InputError: an index is out of range.
        """
        if self.members in ("all", "paired"):
            return list(range(size))
        indices = [int(i) for i in self.members.split(",")]
        if max(indices) >= size:
            raise InputError(
                f"{self.where}.members = {self.members!r}: {workdir} has members 0 to {size - 1}."
            )
        return indices

    def weights_of(self, count: int) -> list[float]:
        """The weights of the group's `count` members, not normalised.

        Raises:
          InputError: the config has another number of weights.
        """
        weights = self.weights or (1.0,) * count
        if len(weights) != count:
            raise InputError(
                f"{self.where}.weights = {self.weights}: {len(weights)} weights for {count} "
                "members."
            )
        return [self.weight * float(weight) for weight in weights]


ALL = Members("config.teacher", "", "")
"""All networks of a run."""


def groups_of(section: ConfigDict) -> tuple[Members, ...]:
    """The groups of a section `teacher`; empty if it names no run.

    Raises:
      InputError: unknown keys, wrong values or weights, or groups besides a run.
    """
    groups = section.get("groups", ())
    names_runs = section.get("run", "") or section.get("config", "") or groups
    if section.get("name", "") == "none" or not names_runs:
        return ()
    if not groups:
        keys: Any = {key: section.get(key, GROUP[key]) for key in SINGLE_RUN}
        return (_checked(Members("config.teacher", **keys)),)
    for key in SINGLE_RUN:
        if section.get(key, GROUP[key]) != GROUP[key]:
            raise InputError(
                f"config.teacher.{key} = {section[key]!r} describes a teacher of one run, and "
                "config.teacher.groups names several. Move it into a group."
            )
    return tuple(_group(group, place) for place, group in enumerate(groups))


def _group(group: Any, place: int) -> Members:
    where = f"config.teacher.groups[{place}]"
    if not isinstance(group, Mapping | ConfigDict):
        raise InputError(f"{where}: expected a dict with a run or a config, got {group!r}.")
    keys = dict(GROUP)
    for key, value in group.items():
        if key not in keys:
            raise unknown(f"key of {where}", str(key), keys)
        if key == "members":
            value = members_text(value)
        keys[key] = of_type(f"{where[7:]}.{key}", keys[key], value)
    if not (keys["run"] or keys["config"]):
        raise InputError(
            f"{where}: give run (the directory of a finished run) or config (the config of that "
            "run)."
        )
    if keys["members"] == "paired":
        raise InputError(
            f"{where}.members = 'paired': students are paired with the members of one run. Name it "
            "in config.teacher.run or config.teacher.config."
        )
    return _checked(Members(where, **keys))


def _checked(group: Members) -> Members:
    check_members(group.where, group.members)
    for weight in (group.weight, *group.weights):
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < math.inf:
            raise InputError(
                f"{group.where}: expected finite weights of 0 or more, got {weight!r}."
            )
    if group.members == "paired" and group.weights:
        raise InputError(
            f"{group.where}.weights: with members = 'paired' student i learns from member i alone, "
            "so weights have no meaning. Leave them out."
        )
    return group


def members_of_file(section: ConfigDict) -> Members:
    """The members of a teacher that is no run. Raises InputError for wrong indices or weights."""
    return _checked(Members("config.teacher", "", "", section.members, 1.0, section.weights))


def complete_groups(section: ConfigDict) -> ConfigDict:
    """The section `teacher` with every default of its groups. Raises InputError."""
    groups = groups_of(section)
    section = ConfigDict(section.to_dict())
    if section.get("groups"):
        section.groups = tuple({k: getattr(g, k) for k in GROUP} for g in groups)
    return section


def known_size(group: Members) -> int | None:
    """The number of a group's members, None if only its run can tell.

    Raises:
      InputError: the config of the run has no such member.
    """
    if group.config:
        size = _networks(load(group.config))
        return len(group.indices(size, group.config))
    return None if group.members in ("all", "paired") else len(group.members.split(","))


def _networks(config: ConfigDict) -> int:
    """The number of networks that a run trains: seeds times peers, see `kd.models.cohort`."""
    student, peers = config.student, 1
    if isinstance(student.get("members"), tuple | list):
        peers = len(student.members)
    elif "member" in student:
        peers = student.get("size", 2)
    return config.seeds * peers


def member_weights(groups: Sequence[Members], sizes: Sequence[int]) -> list[float]:
    """Weights of all members of all groups, normalised to sum one.

    Raises:
      InputError: the number of weights differs from the number of members, or all are 0.
    """
    pairs = zip(groups, sizes, strict=True)
    weights = [weight for group, size in pairs for weight in group.weights_of(size)]
    if not sum(weights) > 0:
        raise InputError(
            f"{groups[0].where.partition('.groups')[0]}: the weights of all members are 0. At "
            "least one must be positive."
        )
    return [weight / sum(weights) for weight in weights]


class Recorded(NamedTuple):
    """A group as `result.json` records it; the weights sum to one over all groups.

    `input` is what its networks saw where it is not what the students saw, see
    `kd.runs.teacher_input`.
    """

    run: str
    members: list[int]
    weights: list[float]
    input: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The group with the keys of stored files."""
        return {"run": self.run, "members": self.members, "shares": self.weights}


def recorded(teacher: Mapping[str, Any] | None) -> list[Recorded]:
    """The runs of the entry `teacher` of a `result.json`, one for each group; empty if it is None
    or the teacher is no run.
    """
    return [] if teacher is None or external(teacher) else _recorded(teacher)


def external(teacher: Mapping[str, Any] | None) -> bool:
    """Whether the entry `teacher` of a `result.json` is of a teacher that is no run."""
    return teacher is not None and "source" in teacher


def describe_external(teacher: Mapping[str, Any]) -> str:
    """A teacher that is no run, in words: its file and the beginning of the file's sha256."""
    members = ", ".join(map(str, teacher["members"]))
    which = f"members {members} of " if len(teacher["members"]) > 1 else ""
    digest = f" (sha256 {teacher['sha256'][:12]})" if teacher.get("sha256") else ""
    return f"{which}{teacher['source']}{digest}"


def _recorded(teacher: Mapping[str, Any]) -> list[Recorded]:
    groups = teacher.get("groups") or [teacher]
    equal = 1 / sum(len(group["members"]) for group in groups)
    return [
        Recorded(
            g.get("run", ""),
            g["members"],
            g.get("shares") or [equal] * len(g["members"]),
            g.get("input"),
        )
        for g in groups
    ]


def recorded_weights(teacher: Mapping[str, Any] | None) -> list[float]:
    """The weights of all members, of runs or not; empty if there is no teacher."""
    groups = [] if teacher is None else _recorded(teacher)
    return [weight for group in groups for weight in group.weights]
