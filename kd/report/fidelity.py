"""Accuracy and distance from the teacher of each class; `kd.metrics.scores` has those of all.

Proportions are in [0, 1], KL in nats.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd.metrics import scores
from kd.metrics.reference import accuracy_loss


class ClassRow(NamedTuple):
    """One class: its examples, and means over the student's seeds.

    Attributes:
      label: the class.
      count: how many examples it has.
      accuracy: of the student.
      teacher: accuracy of the teacher; this and all that follow are None without one.
      agreement: fraction of examples where student and teacher predict the same class.
      kl: of the student's probabilities from the teacher's.
      loss_95: interval of teacher - accuracy, see `kd.metrics.intervals`; None if not computed.
    """

    label: int
    count: int
    accuracy: float
    teacher: float | None = None
    agreement: float | None = None
    kl: float | None = None
    loss_95: tuple[float, float] | None = None

    @property
    def worse(self) -> bool:
        """Whether the student is right less often than its teacher."""
        return self.teacher is not None and self.accuracy < self.teacher


def per_class(
    logits: Float[np.ndarray, "s n c"],
    label: Int[np.ndarray, " n"],
    target: Float[np.ndarray, "... n c"] | None,
    intervals: bool = True,
) -> list[ClassRow]:
    """A row for each class that has examples, in the order of the classes.

    Args:
      logits: of the students.
      label: of the examples.
      target: the teacher's logits [n, c], or those of each student's teacher [s, n, c].
      intervals: whether to compute `loss_95`.
    """
    rows = []
    for k in np.unique(label):
        mask = label == k
        student, labels = logits[:, mask], label[mask]
        row = ClassRow(int(k), int(mask.sum()), _accuracy(student, labels))
        if target is not None:
            teacher = target[..., mask, :]
            row = row._replace(
                teacher=_accuracy(teacher, labels),
                agreement=float(scores.agreement(student, teacher).mean()),
                kl=float(scores.kl(student, teacher).mean()),
            )
            if intervals:
                loss = accuracy_loss(student, teacher, labels)
                row = row._replace(loss_95=(loss.low, loss.high))
        rows.append(row)
    return rows


def _accuracy(logits: Float[np.ndarray, "... n c"], label: Int[np.ndarray, " n"]) -> float:
    """Accuracy over all predictions, a quotient of counts, so that equal accuracies are equal
    numbers.
    """
    right = logits.argmax(-1) == label
    return float(right.sum() / right.size)
