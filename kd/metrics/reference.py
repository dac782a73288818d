"""What students are measured against: what taught all of them, or of each its own teacher. NumPy,
on the evaluated images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kd.metrics import scores
from kd.metrics.intervals import Interval, paired_difference


def of_members(
    members: Float[np.ndarray, "m n c"], shares: Sequence[float], section: Any
) -> Float[np.ndarray, "... n c"]:
    """Logits of what taught: [n, c], or where student i learned from member i alone those of the
    members, [m, n, c].

    Args:
      members: logits.
      shares: what each of them counts.
      section: `config.teacher`. Reductions that have no one target are measured against the mean of
        the probabilities.
    """
    if section.get("members") == "paired":
        return members
    if section.get("reduce") == "logits":
        return np.average(members, axis=0, weights=shares)
    return scores.mean_probs(members, shares)


def beside(target: Float[np.ndarray, "... n c"], networks: int) -> Float[np.ndarray, "... n c"]:
    """The target as it stands beside so many students: where each has a teacher of its own, all
    peers of a cohort have the same.
    """
    if target.ndim == 2:
        return target
    return np.repeat(target, networks // len(target), axis=0)


def lost(
    logits: Float[np.ndarray, "s n c"],
    target: Float[np.ndarray, "... n c"],
    label: Int[np.ndarray, " n"],
    draws: int = 2000,
) -> Interval:
    """Accuracy of the target less that of the students; a target [s, n, c] is compared row by row,
    so that a draw of a seed is one of both its student and its teacher.
    """
    right = (logits.argmax(-1) == label).astype(float)
    taught = (target.argmax(-1) == label).astype(float)
    if target.ndim == 3:
        nothing = np.zeros((1, len(label)))
        return paired_difference(taught - right, nothing, draws=draws)
    return paired_difference(taught[None], right, draws=draws)
