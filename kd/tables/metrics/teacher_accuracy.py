"""Accuracy of the teacher of a run, in %."""

import numpy as np

from kd.config.teachers import recorded, recorded_weights
from kd.errors import InputError
from kd.metrics import scores
from kd.runs.workdir import Workdir
from kd.tables.metric import PerRun, StoredRun
from kd.teachers.reduction import reference_logits


def teacher_accuracy(run: StoredRun) -> list[float]:
    """Accuracy of the members together; or one for each seed, if each seed has its own teacher.

    The second holds for an EMA teacher, and for `config.teacher.members = "paired"`.

    Raises:
      InputError: the run has no teacher that makes predictions.
    """
    predictions = run.workdir.predictions()
    logits = predictions.get("teacher_logits")
    if logits is None:
        groups = recorded(run.result["teacher"])
        members = [Workdir(g.run).predictions()["logits"][np.asarray(g.members)] for g in groups]
        if "member_logits" in predictions:  # of a teacher that is no run
            members = [predictions["member_logits"]]
        if not members:
            raise InputError(f"{run.workdir} had no teacher that has an accuracy.")
        section, weights = run.config.teacher, recorded_weights(run.result["teacher"])
        paired, reduce = section.get("members") == "paired", section.get("reduce", "probs")
        logits = reference_logits(np.concatenate(members), weights, reduce, paired)
        logits = logits if logits.ndim == 3 else logits[None]
    return [100 * float(v) for v in scores.accuracy(logits, predictions["label"])]


metric = PerRun(teacher_accuracy, unit="%", digits=2, better="higher")
