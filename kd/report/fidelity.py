"""How near a student is to its teacher, class by class. Shares in [0, 1], KL in nats; the whole
set's are in kd.metrics.scores.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd.metrics import scores
from kd.metrics.reference import accuracy_loss


class ClassRow(NamedTuple):
    """One class: its examples, and means over the student's seeds. Of the teacher: None without
    one.
    """

    label: int
    count: int
    accuracy: float
    teacher: float | None = None
    agreement: float | None = None
    kl: float | None = None
    loss_95: tuple[float, float] | None = None  # of teacher - accuracy, see `kd.metrics.intervals`

    @property
    def worse(self) -> bool:
        """Whether the student is right less often than its teacher."""
        return self.teacher is not None and self.accuracy < self.teacher


def per_class(
    logits: Float[np.ndarray, "s n c"],
    label: Int[np.ndarray, " n"],
    target: Float[np.ndarray, "... n c"] | None,
) -> list[ClassRow]:
    """A row for each class that has examples, in the order of the classes. A target [s, n, c] has a
    teacher for each student.
    """
    rows = []
    for k in np.unique(label):
        at = label == k
        own, of = logits[:, at], label[at]
        row = ClassRow(int(k), int(at.sum()), _share(own, of))
        if target is not None:
            taught = target[..., at, :]
            found = accuracy_loss(own, taught, of, draws=1000)
            row = row._replace(
                teacher=_share(taught, of),
                agreement=float(scores.agreement(own, taught).mean()),
                kl=float(scores.kl(own, taught).mean()),
                loss_95=(found.low, found.high),
            )
        rows.append(row)
    return rows


def _share(logits: Float[np.ndarray, "... n c"], label: Int[np.ndarray, " n"]) -> float:
    """Of all answers, those that are right. A quotient of counts, so that equal shares are equal
    numbers.
    """
    right = logits.argmax(-1) == label
    return float(right.sum() / right.size)
