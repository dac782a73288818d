"""Predictions of the teacher of a finished run on the images that the run was evaluated on."""

import numpy as np
from jaxtyping import Float

from kd.config.teachers import recorded, recorded_weights
from kd.runs.workdir import Workdir
from kd.tables.metric import StoredRun
from kd.teachers.reduction import reference_logits


def logits(run: StoredRun) -> Float[np.ndarray, "s n c"] | None:
    """Logits of the members together; or those for each seed, if each seed has its own teacher.

    The second holds for an EMA teacher, and for `config.teacher.members = "paired"`. Otherwise s
    is 1. None if the run has no teacher that makes predictions.
    """
    predictions = run.workdir.predictions()
    stored = predictions.get("teacher_logits")
    if stored is not None:
        return stored
    groups = recorded(run.result["teacher"])
    members = [Workdir(g.run).predictions()["logits"][np.asarray(g.members)] for g in groups]
    if "member_logits" in predictions:  # of a teacher that is no run
        members = [predictions["member_logits"]]
    if not members:
        return None
    section, weights = run.config.teacher, recorded_weights(run.result["teacher"])
    paired, reduce = section.get("members") == "paired", section.get("reduce", "probs")
    together = reference_logits(np.concatenate(members), weights, reduce, paired)
    return together if together.ndim == 3 else together[None]
