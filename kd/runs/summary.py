"""The closing table of `kd run`: teacher, ensemble and students side by side, and whether the loss
is acceptable.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kd.config import ConfigDict
from kd.config import teachers as groups
from kd.errors import InputError
from kd.metrics import reference as targets
from kd.metrics import scores as metrics
from kd.metrics.intervals import Interval, paired_difference
from kd.metrics.limits import at_least, at_most
from kd.runs.workdir import Workdir

NO_VERDICT = (
    "Acceptance: no verdict, for this run has no trained teacher to measure loss and agreement "
    "against."
)
"""In place of a verdict that `config.acceptance` asks for."""


@dataclasses.dataclass(frozen=True)
class Runs:
    """Finished runs that belong together: this one, its teacher, the one it started from, and those
    of `config.compare` by label.
    """

    own: Workdir
    teachers: tuple[Workdir, ...]  # one for each group
    first: Workdir | None
    others: dict[str, Workdir]


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: one network, or several that predict together."""

    name: str
    logits: np.ndarray  # [s, n, c]
    results: list[dict[str, Any]]  # of each network that runs to predict

    def scores(self, label: np.ndarray) -> np.ndarray:
        """1.0 where a seed is right, [s, n]."""
        return (self.logits.argmax(-1) == label).astype(float)


def table(config: ConfigDict, runs: Runs) -> str:
    """The table, the verdict and where the results lie, as text."""
    own = runs.own.predictions()
    label, result = own["label"], runs.own.read("result.json")
    rows, reference = [], None
    if runs.teachers:
        taught = _taught(runs.teachers, groups.recorded(result["teacher"]), label)
        rows += taught
        members = np.concatenate([row.logits for row in taught])
        shares = _shares(result["teacher"])
        reference = targets.of_members(members, shares, config.teacher)
        if reference.ndim == 2 and len(members) > 1:
            what = f"ensemble of {len(members)}"
            every = [r for row in taught for r in row.results * len(row.logits)]
            rows.append(Row(what, reference[None], every))
    others = []
    for name, there in runs.others.items():
        _same_examples(label, there)
        logits = there.predictions()["logits"]
        others.append(Row(name, logits, [there.read("result.json")]))
    distilled = Row("distilled student" if runs.teachers else "student", own["logits"], [result])
    rows += [*others, *_peers(distilled)]
    if "teacher_logits" in own:
        rows.append(Row("mean of its weights", own["teacher_logits"], [result]))
    taught = _learned_from(config, result["teacher"]) + _started_from(result)
    lines = [
        f"{result['examples']} {result['split']} images, {len(result['seeds'])} seeds, mean ± std "
        "over seeds",
        *taught,
        "",
        *_grid(rows, label, reference),
        "",
    ]
    lines += _verdict(config, others, distilled, reference, label)
    lines += ["Results:", *(f"  {there}" for there in _places(runs))]
    return "\n".join(lines)


def _peers(row: Row) -> list[Row]:
    """The row; of a cohort of students, one for each place in it and one for them together."""
    costs = row.results[0].get("peers", ())
    if not costs:
        return [row]
    k, of = len(costs), row.logits
    rows = [Row(f"{row.name}, peer {i}", of[i::k], [cost]) for i, cost in enumerate(costs)]
    cohorts = of.reshape(-1, k, *of.shape[1:])
    together = np.stack([metrics.mean_probs(cohort) for cohort in cohorts])
    return [*rows, Row(f"ensemble of its {k} peers", together, costs)]


def _learned_from(config: ConfigDict, teacher: dict[str, Any] | None) -> list[str]:
    """A line on who taught whom, where there is a teacher."""
    if teacher is None:
        return []
    found, section = groups.recorded(teacher), config.teacher
    if section.members == "paired":
        return [f"student i learned from member i of {found[0].run}"]
    named = [f"{', '.join(map(str, g.members))} of {g.run}" for g in found]
    if sum(len(group.members) for group in found) == 1:
        return [f"every student learned from member {named[0]}"]
    how = {
        "probs": "the mean of their probabilities",
        "logits": "the mean of their logits",
        "each": "each of them",
        "random": "one of them at a time, drawn anew for each update",
        "confidence": (
            "the mean of their probabilities, each example's nearest to the label counting most"
        ),
    }[section.reduce]
    weighed = _shares(teacher)
    if len(set(weighed)) > 1:
        how += f", weighed {' : '.join(f'{share:.3g}' for share in weighed)}"
    return [f"every student learned from {how}: members {', and '.join(named)}"]


def _shares(teacher: dict[str, Any] | None) -> list[float]:
    """What each member counts."""
    return [share for group in groups.recorded(teacher) for share in group.shares]


def _started_from(result: dict[str, Any]) -> list[str]:
    """A line on the run that the students started from, where there is one."""
    first = result.get("init")  # results from before there was any lack it
    if first is None:
        return []
    return [f"every student started from what {first['run']} had learnt"]


def _taught(
    teachers: Sequence[Workdir], found: Sequence[groups.Recorded], label: np.ndarray
) -> list[Row]:
    """A row for the members of each group."""
    rows = []
    for there, group in zip(teachers, found, strict=True):
        _same_examples(label, there)
        logits = there.predictions()["logits"][np.asarray(group.members)]
        what = "teacher" if len(logits) == 1 else f"teacher, mean of {len(logits)}"
        if len(found) > 1:
            what += f", {there.path.name}"
        result = there.read("result.json")
        peers = result.get("peers") or [result]
        rows.append(Row(what, logits, [peers[group.members[0] % len(peers)]]))
    return rows


def _same_examples(label: np.ndarray, there: Workdir) -> None:
    if not np.array_equal(label, there.predictions()["label"]):
        raise InputError(
            f"{there} was evaluated on other examples than this run, so that the two cannot be "
            "compared."
        )


def _places(runs: Runs) -> list[str]:
    places = [
        runs.own,
        *runs.teachers,
        *([runs.first] if runs.first else []),
        *runs.others.values(),
    ]
    return [str(place.path) for place in places]


def _grid(rows: Sequence[Row], label: np.ndarray, reference: np.ndarray | None) -> list[str]:
    fidelity = ("agreement %", "KL") if reference is not None else ()
    head = ("", "accuracy %", "parameters", "bytes", "MACs", *fidelity)
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        cost = [sum(r[k] for r in row.results) for k in ("parameters", "bytes", "macs")]
        line = [row.name, _spread(100 * metrics.accuracy(row.logits, label))]
        line += [f"{c:,}" for c in cost]
        if reference is not None and not _compares(row, reference):
            line += ["", ""]
        elif reference is not None:
            agreement = metrics.agreement(row.logits, reference)
            line += [_spread(100 * agreement), _spread(metrics.kl(row.logits, reference), 3)]
        cells.append(tuple(line))
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _compares(row: Row, reference: np.ndarray) -> bool:
    """Whether the row's networks have something to agree with: where each student has its own
    teacher, as many stand beside them.
    """
    return reference.ndim == 2 or len(row.logits) == len(reference)


def _spread(values: np.ndarray, digits: int = 2) -> str:
    text = f"{np.mean(values):.{digits}f}"
    return text + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def _verdict(
    config: ConfigDict,
    others: Sequence[Row],
    student: Row,
    reference: np.ndarray | None,
    label: np.ndarray,
) -> list[str]:
    """Lines on what was lost against the teacher, what was gained over the others, and what was
    asked for.
    """
    lines, accepted = [], []
    if reference is not None:
        own = targets.beside(reference, len(student.logits))
        drop = targets.lost(student.logits, own, label)
        whom = "the teacher" if reference.ndim == 2 else "its own teacher, seed by seed"
        lines.append(f"Loss against {whom}: {_points(drop)}.")
        agreement = float(np.mean(metrics.agreement(student.logits, own)))
        if config.acceptance:
            accepted = [_acceptance(config.acceptance, drop, agreement)]
    elif config.acceptance:
        accepted = [NO_VERDICT]
    right = student.scores(label)
    for row in others:
        gain = paired_difference(right, row.scores(label))
        inside = gain.low <= 0 <= gain.high
        noise = " Zero lies inside the interval: no gain is shown." if inside else ""
        lines.append(f"Gain over '{row.name}': {_points(gain)}.{noise}")
    lines += accepted
    return [*lines, ""] if lines else []


def _points(i: Interval) -> str:
    return f"{100 * i.value:+.2f} points, 95 % interval [{100 * i.low:+.2f}, {100 * i.high:+.2f}]"


def _acceptance(limits: ConfigDict, drop: Interval, agreement: float) -> str:
    keeps = lambda loss: at_most(loss, limits.max_drop)
    met = keeps(drop.value) and at_least(agreement, limits.min_agreement)
    certain = keeps(drop.high) or not keeps(drop.low)
    doubt = "" if certain else " The interval of the loss reaches across the limit."
    return (
        f"Acceptance {'MET' if met else 'NOT MET'}: "
        f"loss {100 * drop.value:.2f} of at most {100 * limits.max_drop:.2f} points, "
        f"agreement {100 * agreement:.2f} % of at least {100 * limits.min_agreement:.2f} %.{doubt}"
    )
