"""Students compared with their reference: logits of their teacher on the same images. NumPy."""

import numpy as np
from jaxtyping import Float, Int

from kd.metrics.intervals import Interval, paired_difference


def per_student(reference: Float[np.ndarray, "... n c"], networks: int) -> np.ndarray:
    """The reference as it compares with the logits of so many networks.

    A common reference [n, c] stays as it is. Where each student has its own teacher, [m, n, c], all
    peers of a cohort have the same: [networks, n, c].
    """
    if reference.ndim == 2:
        return reference
    return np.repeat(reference, networks // len(reference), axis=0)


def accuracy_loss(
    logits: Float[np.ndarray, "s n c"],
    reference: Float[np.ndarray, "... n c"],
    label: Int[np.ndarray, " n"],
) -> Interval:
    """Accuracy of the reference minus that of the students, with its interval.

    A reference [s, n, c] is compared row by row, so that drawing a seed draws both its student and
    its teacher.
    """
    right = (logits.argmax(-1) == label).astype(float)
    reference_right = (reference.argmax(-1) == label).astype(float)
    if reference.ndim == 3:
        zero = np.zeros((1, len(label)))
        return paired_difference(reference_right - right, zero)
    return paired_difference(reference_right[None], right)
