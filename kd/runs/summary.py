"""The closing table of `kd run`: teacher, ensemble and students, and whether they are accepted."""

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from kd.config import ConfigDict
from kd.config.teachers import (
    Recorded,
    describe_external,
    external,
    recorded,
    recorded_weights,
)
from kd.errors import InputError
from kd.files.escaping import plain, terminal
from kd.metrics import acceptance as accepted
from kd.metrics import scores
from kd.metrics.classes import balanced_accuracy, confusion, is_uneven
from kd.metrics.intervals import Interval, paired_difference, sign
from kd.metrics.limits import UNCERTAIN, at_least, at_most
from kd.metrics.reference import accuracy_loss, per_student
from kd.runs import conclusion
from kd.runs.text_table import mean_std, text_table
from kd.runs.workdir import Workdir
from kd.teachers import kind, reduction
from kd.values import counted

NO_VERDICT = (
    "Acceptance: no verdict, for this run has no trained teacher to measure loss and agreement "
    "against."
)
"""Printed in place of the verdict that `config.acceptance` asks for."""


@dataclasses.dataclass(frozen=True)
class Runs:
    """A finished run and the finished runs that it builds on or is compared with."""

    workdir: Workdir
    teachers: tuple[Workdir, ...]  # one for each group
    init: Workdir | None  # that the students started from
    others: dict[str, Workdir]  # of `config.compare`, by label


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: one network, or several that predict together."""

    name: str
    logits: np.ndarray  # [s, n, c]
    # Costs of each network that is evaluated to predict; none where they are not known.
    results: Sequence[dict[str, Any]] = ()

    @property
    def costs(self) -> Sequence[dict[str, Any]]:
        """Costs of one network, or of each peer of a cohort."""
        return self.results[0].get("peers") or self.results[:1]

    def scores(self, label: np.ndarray) -> np.ndarray:
        """1.0 where a seed is right, [s, n]."""
        return (self.logits.argmax(-1) == label).astype(float)


def table(config: ConfigDict, runs: Runs) -> str:
    """The table, the verdict and the directories of the results, as text."""
    predictions, result = runs.workdir.predictions(), runs.workdir.read("result.json")
    label = predictions["label"]
    rows, reference, member_costs = [], None, []
    stored = predictions.get("member_logits")  # of no run, or on other images than their run's
    if runs.teachers:
        rows += _teacher_rows(runs.teachers, recorded(result["teacher"]), label, stored)
    elif stored is not None:
        name = "teacher" if len(stored) == 1 else f"teacher, mean of {len(stored)}"
        rows.append(Row(name, stored))
    if rows:
        members = np.concatenate([row.logits for row in rows])
        weights, section = recorded_weights(result["teacher"]), config.teacher
        paired = section.members == "paired"
        reference = reduction.reference_logits(members, weights, section.reduce, paired)
        member_costs = [cost for row in rows for cost in row.results * len(row.logits)]
        if reference.ndim == 2 and len(members) > 1:
            rows.append(Row(f"ensemble of {len(members)}", reference[None], member_costs))
    others = []
    for name, workdir in runs.others.items():
        _check_examples(label, workdir)
        logits = workdir.predictions()["logits"]
        others.append(Row(name, logits, [workdir.read("result.json")]))
    taught = runs.teachers or external(result["teacher"])
    name = "distilled student" if taught else "student"
    student = Row(name, predictions["logits"], [result])
    seeds = len(result["seeds"])
    rows += [peer for row in (*others, student) for peer in _peers(row)]
    if "teacher_logits" in predictions:
        name = kind.find(config.teacher.name).row
        rows += _peers(Row(name, predictions["teacher_logits"], [result]))
    lines = [
        f"{plain(result['examples'])} {plain(result['split'])} images, "
        f"{counted(seeds, 'seed')}{', mean ± std over seeds' if seeds > 1 else ''}",
        *_teacher_line(config, result["teacher"]),
        *_init_line(result),
        "",
        *_grid(rows, label, reference),
        "",
    ]
    lines += _verdict(config, others, student, reference, label, member_costs)
    lines += ["Results:", *(f"  {path}" for path in _paths(runs))]
    return terminal("\n".join(lines))


def _peers(row: Row) -> list[Row]:
    """The row; for a cohort one row for each peer, and one for the peers' ensemble."""
    costs = row.results[0].get("peers", ())
    if not costs:
        return [row]
    k, logits = len(costs), row.logits
    rows = [Row(f"{row.name}, peer {i}", logits[i::k], [cost]) for i, cost in enumerate(costs)]
    cohorts = logits.reshape(-1, k, *logits.shape[1:])
    together = np.stack([scores.mean_probs(cohort) for cohort in cohorts])
    return [*rows, Row(f"ensemble of its {k} peers", together, costs)]


def _teacher_line(config: ConfigDict, teacher: dict[str, Any] | None) -> list[str]:
    """A line on what the students learned from, where they had trained teachers."""
    if teacher is None:
        return []
    groups, section = recorded(teacher), config.teacher
    if section.members == "paired":
        source = teacher["source"] if external(teacher) else groups[0].run
        return [f"student i learned from member i of {plain(source)}"]
    names = [f"{', '.join(map(str, g.members))} of {plain(g.run)}" for g in groups]
    if len(recorded_weights(teacher)) == 1:
        name = plain(describe_external(teacher)) if external(teacher) else f"member {names[0]}"
        return [f"every student learned from {name}"]
    if external(teacher):
        names = [plain(describe_external(teacher)).removeprefix("members ")]
    words = reduction.find(section.reduce).words
    weights = recorded_weights(teacher)
    if len(set(weights)) > 1:
        words += f", weighed {' : '.join(f'{weight:z.3g}' for weight in weights)}"
    return [f"every student learned from {words}: members {', and '.join(names)}"]


def _init_line(result: dict[str, Any]) -> list[str]:
    """A line on the run that the students started from, where there is one."""
    init = result.get("init")  # old results have no such key
    if init is None:
        return []
    return [f"every student started from what {plain(init['run'])} had learnt"]


def _teacher_rows(
    teachers: Sequence[Workdir],
    groups: Sequence[Recorded],
    label: np.ndarray,
    stored: np.ndarray | None,
) -> list[Row]:
    """A row for the members of each group, whose logits are stored or those of their run."""
    rows, first = [], 0
    for workdir, group in zip(teachers, groups, strict=True):
        if stored is None:
            _check_examples(label, workdir)
            logits = workdir.predictions()["logits"][np.asarray(group.members)]
        else:
            logits = stored[first : first + len(group.members)]
            first += len(logits)
        name = "teacher" if len(logits) == 1 else f"teacher, mean of {len(logits)}"
        if len(groups) > 1:
            name += f", {workdir.path.name}"
        result = workdir.read("result.json")
        peers = result.get("peers") or [result]
        rows.append(Row(name, logits, [peers[group.members[0] % len(peers)]]))
    return rows


def _check_examples(label: np.ndarray, workdir: Workdir) -> None:
    """Raises InputError if a run was evaluated on other examples."""
    if not np.array_equal(label, workdir.predictions()["label"]):
        raise InputError(
            f"{workdir} was evaluated on other examples than this run, so that the two cannot be "
            "compared."
        )


def _paths(runs: Runs) -> list[str]:
    init = [runs.init] if runs.init else []
    workdirs = [runs.workdir, *runs.teachers, *init, *runs.others.values()]
    return [plain(workdir.path) for workdir in workdirs]


def _grid(rows: Sequence[Row], label: np.ndarray, reference: np.ndarray | None) -> list[str]:
    fidelity = ("agreement %", "KL") if reference is not None else ()
    uneven = is_uneven(label)
    head = ("", "accuracy %", *["balanced %"] * uneven, "parameters", "bytes", "MACs", *fidelity)
    cells: list[Sequence[str]] = [head]
    for row in rows:
        costs = [sum(r[k] for r in row.results) for k in ("parameters", "bytes", "macs")]
        line = [row.name, mean_std(100 * scores.accuracy(row.logits, label))]
        if uneven:
            line.append(mean_std(100 * balanced_accuracy(confusion(row.logits, label))))
        line += [f"{cost:,}" if row.results else "" for cost in costs]
        if reference is not None and not _comparable(row, reference):
            line += ["", ""]
        elif reference is not None:
            agreement = scores.agreement(row.logits, reference)
            line += [mean_std(100 * agreement), mean_std(scores.kl(row.logits, reference), 3)]
        cells.append(line)
    return text_table(cells)


def _comparable(row: Row, reference: np.ndarray) -> bool:
    """Whether the row has a reference: a common one, or one for each of its networks."""
    return reference.ndim == 2 or len(row.logits) == len(reference)


def _verdict(
    config: ConfigDict,
    others: Sequence[Row],
    student: Row,
    reference: np.ndarray | None,
    label: np.ndarray,
    member_costs: list[dict[str, Any]],
) -> list[str]:
    """Lines on the loss against the teacher, the gain over other runs, what that comes to, and the
    acceptance.
    """
    lines, acceptance, compared, taught = [], [], [], None
    names = student.results[0].get("class_names", ())
    limits = config.acceptance.to_dict()
    judged = accepted.judge(limits, student.logits, label, _of_students(reference, student), names)
    if reference is not None:
        student_reference = per_student(reference, len(student.logits))
        drop = accuracy_loss(student.logits, student_reference, label)
        teacher = "the teacher" if reference.ndim == 2 else "its own teacher, seed by seed"
        lines.append(f"Loss against {teacher}: {_points(drop)}.")
        taught = conclusion.Taught(drop, member_costs, reference.ndim == 3)
        agreement = float(np.mean(scores.agreement(student.logits, student_reference)))
        if config.acceptance:
            acceptance = [_acceptance(config.acceptance, drop, agreement, judged)]
    elif config.acceptance and judged and not accepted.asks_teacher(config.acceptance):
        acceptance = [_said(True, [], judged)]
    elif config.acceptance:
        acceptance = [NO_VERDICT]
    right = student.scores(label)
    for row in others:
        gain = paired_difference(right, row.scores(label))
        noise = "" if sign(gain) else " Zero lies inside the interval: no gain is shown."
        lines.append(f"Gain over '{plain(row.name)}': {_points(gain)}.{noise}")
        if row.results[0].get("teacher") is None:
            seeds = len(row.results[0]["seeds"])
            compared.append(conclusion.Compared(plain(row.name), gain, row.costs, seeds))
    if taught is not None:
        seeds = len(student.results[0]["seeds"])
        text = conclusion.sentence(student.costs, seeds, compared, taught)
        lines += textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    lines += acceptance
    return [*lines, ""] if lines else []


def _points(i: Interval) -> str:
    value, low, high = (f"{100 * number:+z.2f}" for number in (i.value, i.low, i.high))
    return f"{value} points, 95 % interval [{low}, {high}]"


def _of_students(reference: np.ndarray | None, student: Row) -> np.ndarray | None:
    return None if reference is None else per_student(reference, len(student.logits))


def _acceptance(
    limits: ConfigDict,
    drop: Interval,
    agreement: float,
    judged: Sequence[accepted.Judged] = (),
) -> str:
    within = lambda loss: at_most(loss, limits.max_drop)
    met = within(drop.value) and at_least(agreement, limits.min_agreement)
    certain = within(drop.high) or not within(drop.low)
    texts = [
        f"loss {100 * drop.value:z.2f} of at most {100 * limits.max_drop:z.2f} points",
        f"agreement {100 * agreement:z.2f} % of at least {100 * limits.min_agreement:z.2f} %",
    ]
    return _said(met, texts, judged, certain)


def _said(
    met: bool, texts: Sequence[str], judged: Sequence[accepted.Judged], certain: bool = True
) -> str:
    met = met and all(limit.met for limit in judged)
    sure = certain and all(limit.certain for limit in judged)
    doubt = "" if sure else f" {UNCERTAIN}."
    parts = [*texts, *(limit.text for limit in judged)]
    return f"Acceptance {'MET' if met else 'NOT MET'}: {', '.join(parts)}.{doubt}"
