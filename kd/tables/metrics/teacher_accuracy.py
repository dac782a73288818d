"""Accuracy of the teacher of a run, in %."""

from kd.errors import InputError
from kd.metrics import scores
from kd.tables import teacher_predictions
from kd.tables.metric import PerRun, StoredRun


def teacher_accuracy(run: StoredRun) -> list[float]:
    """Accuracy of the members together; or one for each seed, if each seed has its own teacher.

    Raises:
      InputError: the run has no teacher that makes predictions.
    """
    logits = teacher_predictions.logits(run)
    if logits is None:
        raise InputError(f"{run.workdir} had no teacher that has an accuracy.")
    label = run.workdir.predictions()["label"]
    return [100 * float(v) for v in scores.accuracy(logits, label)]


metric = PerRun(teacher_accuracy, unit="%", digits=2, better="higher")
