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
    if teacher is None:
        return None
    networks, peers = predictions["logits"], int(predictions.get("peers", 1))
    if len(teacher) not in (1, len(networks)):  # one for each seed, and several peers
        teacher = np.repeat(teacher, peers, axis=0)
    agree = networks.argmax(-1) == teacher.argmax(-1)
    return 100 * agree.reshape(-1, peers, agree.shape[1]).mean(axis=1)


metric = PerRun(
    lambda run: run.final("agreement", 100),
    unit="%",
    digits=2,
    better="higher",
    scores=per_example,
)
