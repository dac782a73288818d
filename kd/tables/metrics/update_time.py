"""Processor time of an update of one student, in milliseconds; only of runs on a CPU."""

from kd.errors import InputError
from kd.tables.metric import PerRun, StoredRun


def update_time(run: StoredRun) -> list[float]:
    """The same for each seed, since all seeds are one program.

    Raises:
      InputError: the run is of an earlier version, or of an accelerator.
    """
    seconds = run.result.get("update_processor_seconds")
    if seconds is None:
        raise InputError(
            f"{run.workdir} has no update_processor_seconds: it was trained by an earlier version "
            "of kd, or not on a CPU."
        )
    return [1000 * seconds] * len(run.result["seeds"])


metric = PerRun(update_time, unit="ms", digits=1, better="lower")
