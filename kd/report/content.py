"""What a report says, as plain data: read from what the finished run and its teacher store, nothing is trained."""

from typing import Any

import numpy as np

from kd import metrics
from kd.config import default_workdir
from kd.errors import InputError
from kd.groups import recorded
from kd.record import read_rows
from kd.report import calibration, fidelity, significance
from kd.report.conclusions import conclude
from kd.statistics import paired_difference
from kd.workdir import Workdir

COSTS = ("parameters", "bytes", "macs")


def make_content(workdir: Workdir, root: str = "runs") -> dict[str, Any]:
    """Content of `report.json`. Shares in [0, 1], NLL and KL in nats, costs of one network.

    Args:
      workdir: of the run.
      root: where the runs of `config.compare` lie; one that is not finished is named as missing.

    Raises:
      InputError: the directory is no run, is not finished, or its teacher's run is gone.
    """
    config = workdir.read("config.json")
    if not workdir.finished:
        raise InputError(
            f"{workdir} is not finished: it has no result.json. The `kd run` that began it goes on from its checkpoint."
        )
    result, stored = workdir.read("result.json"), workdir.predictions()
    logits, label = stored["logits"], stored["label"]
    teachers, target = _teachers(result, label)
    content = {
        "run": str(workdir),
        "split": result["split"],
        "examples": len(label),
        "seeds": result["seeds"],
        "accuracy": _mean(metrics.accuracy(logits, label)),
        "wilson_95": [_wilson(own, label) for own in logits],
        "costs": {"student": {k: result[k] for k in COSTS}},
        "calibration": _calibration(stored),
        "classes": _classes(logits, label, target, result["class_names"]),
        "curves": _curves(workdir),
        "gains": {
            name: _gain(logits, label, Workdir(default_workdir(reference, root)))
            for name, reference in (config.get("compare") or {}).items()
        },
    }
    if target is not None:
        for name, teacher in teachers.items():
            content["costs"][name] = {k: teacher[k] for k in COSTS}
        content["teacher"] = _against(logits, label, target, result["teacher"])
    content["conclusions"] = conclude(content, config.get("acceptance") or {})
    return content


def _teachers(
    result: dict[str, Any], label: np.ndarray
) -> tuple[dict[str, dict[str, Any]], np.ndarray | None]:
    """The result of each teacher's run by a name for it, and logits [n, c] of the mean of all members."""
    groups = recorded(result["teacher"])
    results, members, shares = {}, [], []
    for group in groups:
        there = Workdir(group.run)
        if not there.finished:
            raise InputError(
                f"the teacher's run {there} is not there. Run `kd report` where `kd run` ran, or put that run back."
            )
        found = there.predictions()
        if not np.array_equal(found["label"], label):
            raise InputError(
                f"the teacher in {there} was evaluated on other examples than this run. Train the student again."
            )
        name = "teacher" if len(groups) == 1 else f"teacher in {there}"
        results[name] = there.read("result.json")
        members.append(found["logits"][np.asarray(group.members)])
        shares += group.shares
    if not groups:
        return {}, None
    return results, metrics.mean_probs(np.concatenate(members), shares)


def _gain(
    logits: np.ndarray, label: np.ndarray, there: Workdir
) -> dict[str, float] | None:
    """Accuracy gained over another run, with its interval; None where that is not finished."""
    if not there.finished:
        return None
    other = there.predictions()
    if not np.array_equal(other["label"], label):
        raise InputError(
            f"{there} was evaluated on other examples than this run, so that the two cannot be compared."
        )
    own, theirs = (
        (found.argmax(-1) == label).astype(float) for found in (logits, other["logits"])
    )
    return paired_difference(own, theirs)._asdict()


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _wilson(logits: np.ndarray, label: np.ndarray) -> list[float]:
    right = int(np.sum(logits.argmax(-1) == label))
    return list(significance.wilson(right, len(label)))


def _against(
    logits: np.ndarray, label: np.ndarray, target: np.ndarray, origin: dict[str, Any]
) -> dict[str, Any]:
    right, taught = logits.argmax(-1) == label, target.argmax(-1) == label
    loss = paired_difference(taught[None].astype(float), right.astype(float))
    return {
        "groups": [group._asdict() for group in recorded(origin)],
        "accuracy": _mean(taught),
        "wilson_95": _wilson(target, label),
        "loss": loss._asdict(),
        "mcnemar_p": [significance.mcnemar(own, taught) for own in right],
        "agreement": _mean(metrics.agreement(logits, target)),
        "kl": _mean(metrics.kl(logits, target)),
    }


def _calibration(stored: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over seeds; temperatures are fitted on the validation images alone, each seed's on its own logits."""
    logits, label = stored["logits"].astype(np.float64), stored["label"]

    def figures(logits: np.ndarray) -> dict[str, float]:
        return {
            "ece": float(np.mean([calibration.ece(own, label) for own in logits])),
            "nll": _mean(metrics.nll(logits, label)),
            "brier": float(np.mean([calibration.brier(own, label) for own in logits])),
        }

    bins = [
        [None if np.isnan(v) else float(v) for v in values]
        for values in calibration.reliability(logits[0], label)
    ]
    found: dict[str, Any] = {
        **figures(logits),
        "reliability_of_first_seed": dict(
            zip(calibration.Reliability._fields, bins, strict=True)
        ),
        "temperature": None,
    }
    if "validation_logits" in stored:
        fit = [
            calibration.temperature(own, stored["validation_label"])
            for own in stored["validation_logits"].astype(np.float64)
        ]
        found["temperature"] = fit
        found["scaled"] = figures(logits / np.array(fit)[:, None, None])
    return found


def _classes(
    logits: np.ndarray,
    label: np.ndarray,
    target: np.ndarray | None,
    names: list[str],
) -> list[dict[str, Any]]:
    return [
        {
            "name": names[row.label] if names else str(row.label),
            **row._asdict(),
            "worse": row.worse,
        }
        for row in fidelity.per_class(logits, label, target)
    ]


def _curves(workdir: Workdir) -> list[dict[str, Any]]:
    rows = [row for row in read_rows(workdir) if row["kind"] != "train"]
    keys = ("kind", "epoch", "accuracy", "nll")
    return [{key: row[key] for key in keys if key in row} for row in rows]
