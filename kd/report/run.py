"""A finished run as the sections of a report read it: config, result and stored predictions."""

from typing import Any, NamedTuple

import numpy as np

from kd.config.teachers import recorded, recorded_weights
from kd.errors import InputError
from kd.metrics.reference import per_student
from kd.names import trust
from kd.runs.costs import COSTS
from kd.runs.workdir import Workdir
from kd.teachers.reduction import reference_logits


class Teacher(NamedTuple):
    """Members of a teacher that come from one run.

    Attributes:
      workdir: of the run.
      result: content of its `result.json`.
      members: their indices among its networks.
      logits: of the networks of its run on the student's evaluated images, [m, n, c]: of the
        members alone where they saw other images than their student.
    """

    workdir: Workdir
    result: dict[str, Any]
    members: list[int]
    logits: np.ndarray

    @property
    def costs(self) -> list[dict[str, int]]:
        """Costs of each member; in a run of cohorts, of the peer that the member is."""
        peers = self.result.get("peers") or [self.result]
        costs = [peers[i % len(peers)] for i in self.members]
        return [{k: cost[k] for k in COSTS} for cost in costs]


class Run(NamedTuple):
    """A finished run and its teacher's runs.

    Attributes:
      workdir: its directory.
      config: content of `config.json`.
      result: content of `result.json`.
      arrays: content of `predictions.npz`.
      teachers: the teacher's groups, one for each run; empty without a teacher, and where it is no
        run.
      target: the teacher's logits [n, c], or those of each student's teacher [s, n, c]; None
        without a teacher.
      root: directory of the runs that `config.compare` names.
      networks: a `kd.report.networks.Networks`; None where only stored predictions are reported.
    """

    workdir: Workdir
    config: dict[str, Any]
    result: dict[str, Any]
    arrays: dict[str, np.ndarray]
    teachers: tuple[Teacher, ...] = ()
    target: np.ndarray | None = None
    root: str = "runs"
    networks: Any = None

    @property
    def logits(self) -> np.ndarray:
        """The students' logits [s, n, c] on the evaluated split."""
        return self.arrays["logits"]

    @property
    def label(self) -> np.ndarray:
        """The labels [n]."""
        return self.arrays["label"]

    @property
    def right(self) -> np.ndarray:
        """1.0 where a student is right, [s, n]."""
        return (self.logits.argmax(-1) == self.label).astype(float)

    @property
    def paired(self) -> bool:
        """Whether each student learned from one member of its own."""
        return self.target is not None and self.target.ndim == 3

    @property
    def teacher_size(self) -> int:
        """How many members each student learned from."""
        return 1 if self.paired else len(recorded_weights(self.result["teacher"]))

    @property
    def teacher_costs(self) -> dict[str, int] | None:
        """Costs of all members that a student learned from, summed; None where they are not known,
        of a teacher that is no run.
        """
        if not self.teachers:
            return None
        costs = [cost for teacher in self.teachers for cost in teacher.costs]
        return {k: sum(cost[k] for cost in costs[: self.teacher_size]) for k in COSTS}

    @trust.reads_stored
    def reduce(self, members: np.ndarray) -> np.ndarray:
        """The reference of all members' logits [m, n, c]; see `kd.teachers.reduction`."""
        weights = recorded_weights(self.result["teacher"])
        section = self.config.get("teacher", {})
        paired = section.get("members") == "paired"
        return reference_logits(members, weights, section.get("reduce", "probs"), paired)


def read(workdir: Workdir, root: str = "runs") -> Run:
    """The run in a directory; `root` is the directory of the runs that it is compared with.

    Raises:
      InputError: there is no run, it is not finished or damaged, or its teacher's run is missing
        or was evaluated on other examples.
    """
    config = workdir.read("config.json")
    if not workdir.finished:
        raise InputError(
            f"{workdir} is not finished: it has no result.json. The `kd run` that started it "
            "continues from its checkpoint."
        )
    predictions = workdir.predictions()
    run = Run(workdir, config, workdir.read("result.json"), predictions, root=root)
    groups = recorded(run.result["teacher"])
    stored = predictions.get("member_logits")  # of no run, or on other images than their run's
    if stored is None and not groups:
        return run
    teachers, logits = [], []
    for group in groups:
        source = Workdir(group.run)
        if not source.finished:
            raise InputError(
                f"the teacher's run {source} is missing. Run `kd report` where `kd run` ran, or "
                "put that run back."
            )
        result = source.read("result.json")
        if stored is not None:
            first = sum(len(teacher.members) for teacher in teachers)
            logits_of = stored[first : first + len(group.members)]
            teachers.append(Teacher(source, result, group.members, logits_of))
            continue
        arrays = source.predictions()
        if not same_examples(run, result, arrays["label"]):
            raise InputError(
                f"the teacher in {source} was evaluated on other examples than {workdir}. Train "
                "the student again."
            )
        teachers.append(Teacher(source, result, group.members, arrays["logits"]))
        logits.append(arrays["logits"][np.asarray(group.members)])
    members = np.concatenate(logits) if stored is None else stored
    target = per_student(run.reduce(members), len(run.logits))
    return run._replace(teachers=tuple(teachers), target=target)


def same_examples(run: Run, result: dict[str, Any], label: np.ndarray) -> bool:
    """Whether another run was evaluated on the same examples in the same order."""
    return result.get("evaluated") == run.result.get("evaluated") and np.array_equal(
        run.label, label
    )
