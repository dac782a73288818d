"""What the stored predictions of one finished run say, as plain data: nothing is trained and no
network runs.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kd.config import default_workdir
from kd.config.teachers import recorded, recorded_weights
from kd.errors import InputError
from kd.metrics import scores
from kd.metrics.intervals import paired_difference
from kd.metrics.reference import accuracy_loss, per_student
from kd.report import calibration, fidelity, significance
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.teachers.reduction import reference_logits

COSTS = ("parameters", "bytes", "macs")


class Teacher(NamedTuple):
    """Members of one run that taught together with all others."""

    workdir: Workdir
    result: dict[str, Any]
    members: list[int]

    @property
    def costs(self) -> list[dict[str, int]]:
        """Of each member; where the run's students were cohorts, of the peer that it is."""
        peers = self.result.get("peers") or [self.result]
        of_each = [peers[i % len(peers)] for i in self.members]
        return [{k: cost[k] for k in COSTS} for cost in of_each]


class Stored(NamedTuple):
    """A finished run and, where it has some, its teachers' runs, read from disk."""

    workdir: Workdir
    config: dict[str, Any]
    result: dict[str, Any]
    arrays: dict[str, np.ndarray]  # of predictions.npz
    teachers: tuple[Teacher, ...] = ()
    target: np.ndarray | None = None  # what taught, [n, c], or each student [s, n, c]

    @property
    def logits(self) -> np.ndarray:
        """[s, n, c]"""
        return self.arrays["logits"]

    @property
    def label(self) -> np.ndarray:
        """[n]"""
        return self.arrays["label"]

    @property
    def right(self) -> np.ndarray:
        """1.0 where a seed is right, [s, n]."""
        return (self.logits.argmax(-1) == self.label).astype(float)

    @property
    def paired(self) -> bool:
        """Whether each student learned from a teacher of its own alone."""
        return self.target is not None and self.target.ndim == 3

    @property
    def networks(self) -> int:
        """How many taught one student."""
        return 1 if self.paired else sum(len(t.members) for t in self.teachers)

    @property
    def teacher_costs(self) -> dict[str, int]:
        """Of those that taught one student, together."""
        each = [cost for teacher in self.teachers for cost in teacher.costs]
        return {k: sum(cost[k] for cost in each[: self.networks]) for k in COSTS}

    def together(self, members: np.ndarray) -> np.ndarray:
        """The reference of all its teachers' logits [m, n, c], see `kd.teachers.reduction`."""
        weights = recorded_weights(self.result["teacher"])
        section = self.config.get("teacher", {})
        paired = section.get("members") == "paired"
        return reference_logits(members, weights, section.get("reduce", "probs"), paired)


def read(workdir: Workdir) -> Stored:
    """The run in a directory.

    Raises:
      InputError: the directory is no run, is not finished, is damaged, or its teacher's run is gone
        or of other examples.
    """
    config = workdir.read("config.json")
    if not workdir.finished:
        raise InputError(
            f"{workdir} is not finished: it has no result.json. The `kd run` that began it goes on "
            "from its checkpoint."
        )
    own = Stored(workdir, config, workdir.read("result.json"), workdir.predictions())
    groups = recorded(own.result["teacher"])
    if not groups:
        return own
    teachers, logits = [], []
    for group in groups:
        there = Workdir(group.run)
        if not there.finished:
            raise InputError(
                f"the teacher's run {there} is not there. Run `kd report` where `kd run` ran, or "
                "put that run back."
            )
        found, taught = there.predictions(), there.read("result.json")
        if not same_examples(own, taught, found["label"]):
            raise InputError(
                f"the teacher in {there} was evaluated on other examples than {workdir}. Train the "
                "student again."
            )
        teachers.append(Teacher(there, taught, group.members))
        logits.append(found["logits"][np.asarray(group.members)])
    target = per_student(own.together(np.concatenate(logits)), len(own.logits))
    return own._replace(teachers=tuple(teachers), target=target)


def same_examples(own: Stored, result: dict[str, Any], label: np.ndarray) -> bool:
    """Whether another run was evaluated on this run's examples, in this order."""
    alike = result.get("evaluated") == own.result.get("evaluated")
    return alike and np.array_equal(own.label, label)


def describe(stored: Stored, root: str) -> dict[str, Any]:
    """Shares in [0, 1], NLL and KL in nats, costs of one network; `root` is where the runs of
    `config.compare` lie.

    Raises:
      InputError: a run of `config.compare` was evaluated on other examples. One that is not
        finished is named as missing.
    """
    result, logits, label = stored.result, stored.logits, stored.label
    content = {
        "run": str(stored.workdir),
        "data": stored.config["data"]["name"],
        "split": result["split"],
        "examples": len(label),
        "seeds": _networks(result),
        "accuracy": _mean(scores.accuracy(logits, label)),
        "interval_95": list(interval(stored.right)),
        "wilson_95": [_wilson(own, label) for own in logits],
        "costs": {"student": {k: result[k] for k in COSTS}},
        "calibration": _calibration(stored),
        "classes": _classes(logits, label, stored.target, result["class_names"]),
        "curves": _curves(stored.workdir),
        "gains": {
            name: _gain(stored, Workdir(default_workdir(reference, root)))
            for name, reference in (stored.config.get("compare") or {}).items()
        },
        "acceptance": stored.config.get("acceptance") or {},
    }
    if stored.target is not None:
        several = len(stored.teachers) > 1
        for teacher in stored.teachers:
            name = f"teacher in {teacher.workdir}" if several else "teacher"
            content["costs"][name] = teacher.costs[0]  # one architecture
        content["teacher"] = {
            "groups": [group.to_json() for group in recorded(result["teacher"])],
            "paired": stored.paired,
            "networks": stored.networks,
            "costs": stored.teacher_costs,
            **_against(logits, label, stored.target),
        }
    return content


def interval(right: np.ndarray) -> significance.Interval:
    """Mean of scores [s, n] with its bootstrap interval over examples and seeds."""
    return paired_difference(right, np.zeros((1, right.shape[1])))


def difference(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Of two runs' scores, [r, n] and [s, n]: a minus b with its interval, and McNemar's p, the
    median over pairs of seeds.
    """
    tests = [significance.mcnemar(one > 0, other > 0) for one in a for other in b]
    found = paired_difference(a, b)._asdict()
    return {**found, "mcnemar_p": float(np.median(tests))}


def _gain(own: Stored, there: Workdir) -> dict[str, Any] | None:
    """Accuracy gained over another run, with its interval; None where that is not finished."""
    if not there.finished:
        return None
    other = Stored(there, {}, there.read("result.json"), there.predictions())
    if not same_examples(own, other.result, other.label):
        raise InputError(
            f"{there} was evaluated on other examples than {own.workdir}, so that the two cannot "
            "be compared."
        )
    return {"run": str(there), **difference(own.right, other.right)}


def _networks(result: Mapping[str, Any]) -> list[Any]:
    """What to call each network: by its seed, where students were trained as cohorts also by its
    place in one.
    """
    peers = len(result.get("peers", [1]))
    if peers == 1:
        return result["seeds"]
    return [f"{seed}, peer {i}" for seed in result["seeds"] for i in range(peers)]


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _wilson(logits: np.ndarray, label: np.ndarray) -> list[float]:
    right = int(np.sum(logits.argmax(-1) == label))
    return list(significance.wilson(right, len(label)))


def _against(logits: np.ndarray, label: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    right, taught = logits.argmax(-1) == label, target.argmax(-1) == label
    one = target.ndim == 2  # for all students
    each = target[None] if one else target
    # Teachers, one for each student, are several networks as the students are.
    around = _wilson(target, label) if one else list(interval(taught.astype(float)))
    pairs = zip(right, np.broadcast_to(taught, right.shape), strict=True)
    return {
        "accuracy": _mean(taught),
        "interval_95": around,
        "loss": accuracy_loss(logits, target, label)._asdict(),
        "mcnemar_p": [significance.mcnemar(*pair) for pair in pairs],
        "agreement": _mean(scores.agreement(logits, target)),
        "kl": _mean(scores.kl(logits, target)),
        "calibration": {
            **calibration.figures(each, label),
            "reliability": calibration.diagram(each, label),
        },
    }


def _calibration(stored: Stored) -> dict[str, Any]:
    """Means over seeds; temperatures are fitted on the validation images alone, each seed's on its
    own logits.
    """
    logits, label = stored.logits.astype(np.float64), stored.label
    found: dict[str, Any] = {
        **calibration.figures(logits, label),
        "reliability": calibration.diagram(logits, label),
        "temperature": None,
    }
    if "validation_logits" in stored.arrays:
        held_out = stored.arrays["validation_logits"].astype(np.float64)
        fit = [calibration.temperature(own, stored.arrays["validation_label"]) for own in held_out]
        scaled = logits / np.array(fit)[:, None, None]
        found["temperature"] = fit
        found["scaled"] = {
            **calibration.figures(scaled, label),
            "reliability": calibration.diagram(scaled, label),
        }
    return found


def _classes(
    logits: np.ndarray,
    label: np.ndarray,
    target: np.ndarray | None,  # see `Stored.target`
    names: list[str],
) -> list[dict[str, Any]]:
    return [
        {"name": names[row.label] if names else str(row.label), **row._asdict(), "worse": row.worse}
        for row in fidelity.per_class(logits, label, target)
    ]


def _curves(workdir: Workdir) -> dict[str, list[dict[str, Any]]]:
    """`evaluated`: metrics of each evaluation. `train`: of each epoch, the mean over its updates.
    Values are lists over seeds.
    """
    rows = read_rows(workdir)
    evaluated = [row for row in rows if row["kind"] != "train"]
    keys = ("epoch", "accuracy", "nll")
    epochs: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "train":
            epochs.setdefault(row["epoch"], []).append(row)
    train = []
    for epoch, own in sorted(epochs.items()):
        weight = [row["updates"] for row in own]
        means = {
            key: np.average([row[key] for row in own], axis=0, weights=weight).tolist()
            for key in ("accuracy", "loss")
        }
        train.append({"epoch": epoch, **means})
    return {
        "evaluated": [{k: row[k] for k in keys if k in row} for row in evaluated],
        "train": train,
    }
