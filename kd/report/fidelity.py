"""How near a student is to its teacher, class by class. Shares in [0, 1], KL in nats; the whole set's are in kd.metrics."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd import metrics


class ClassRow(NamedTuple):
    """One class: its examples, and means over the student's seeds. Of the teacher: None without one."""

    label: int
    count: int
    accuracy: float
    teacher: float | None = None
    agreement: float | None = None
    kl: float | None = None

    @property
    def worse(self) -> bool:
        """Whether the student is right less often than its teacher."""
        return self.teacher is not None and self.accuracy < self.teacher


def per_class(
    logits: Float[np.ndarray, "s n c"],
    label: Int[np.ndarray, " n"],
    target: Float[np.ndarray, "n c"] | None,
) -> list[ClassRow]:
    """A row for each class that has examples, in the order of the classes."""
    rows = []
    for k in np.unique(label):
        at = label == k
        own, of = logits[:, at], label[at]
        row = ClassRow(int(k), int(at.sum()), _share(own, of))
        if target is not None:
            row = row._replace(
                teacher=_share(target[at], of),
                agreement=float(metrics.agreement(own, target[at]).mean()),
                kl=float(metrics.kl(own, target[at]).mean()),
            )
        rows.append(row)
    return rows


def _share(logits: Float[np.ndarray, "... n c"], label: Int[np.ndarray, " n"]) -> float:
    """Of all answers, those that are right. A quotient of counts, so that equal shares are equal numbers."""
    right = logits.argmax(-1) == label
    return float(right.sum() / right.size)
