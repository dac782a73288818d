"""Percentage of examples on which the student predicts the same class as its teacher."""

import numpy as np
from jaxtyping import Float

from kd.tables import teacher_predictions
from kd.tables.metric import PerRun, StoredRun


def per_example(run: StoredRun) -> Float[np.ndarray, "s n"] | None:
    """100 for each seed and example on which student and teacher agree, otherwise 0; of several
    peers their mean. None if the teacher's predictions are not stored.
    """
    teacher, predictions = teacher_predictions.logits(run), run.workdir.predictions()
    student, peers = predictions["logits"], int(predictions.get("peers", 1))
    if teacher is None:
        return None
    student = student.reshape(-1, peers, *student.shape[1:])
    agree = student.argmax(-1) == teacher[:, None].argmax(-1)
    return 100 * agree.mean(axis=1)


metric = PerRun(
    lambda run: run.final("agreement", 100),
    unit="%",
    digits=2,
    better="higher",
    scores=per_example,
)
