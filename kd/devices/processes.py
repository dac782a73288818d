"""Several processes that run one program on all their devices: joining them, what they agree on,
and which of them writes.

Every process runs the same command and reads the same files; process 0 alone writes those of the
run directory, but for the checkpoints, to which each writes its own part. One process is the same
code, with nothing to agree on.
"""

import os
from collections.abc import Callable, Mapping

import jax
import numpy as np

from kd.errors import InputError, RunError

VARIABLES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}
"""What stands in the environment where a flag is not given."""


def join(
    coordinator: str | None = None,
    processes: int | str | None = None,
    process: int | str | None = None,
    detect: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> bool:
    """Joins the other processes, before anything is computed. Returns whether there are any to
    join.

    Args:
      coordinator: `host:port` of process 0, the same for all.
      processes: how many there are.
      process: which of them this is, from 0.
      detect: ask the cluster (a TPU slice, SLURM, Kubernetes) for what is not given.
      environment: where `VARIABLES` are looked up.

    Raises:
      InputError: some of the three are missing or do not fit together.
      RunError: the others do not come.
    """
    given: dict[str, int | str | None] = {
        "coordinator": coordinator,
        "processes": processes,
        "process": process,
    }
    for name, variable in VARIABLES.items():
        if given[name] is None:
            given[name] = environment.get(variable) or None
    if not detect and all(value is None for value in given.values()):
        return False
    missing = [name for name, value in given.items() if value is None]
    if missing and not detect:
        raise InputError(
            f"several processes: {', '.join(missing)} not given. Give --{' --'.join(missing)}, or "
            f"set {', '.join(VARIABLES[name] for name in missing)}; on a TPU slice or under SLURM, "
            "--distributed finds them."
        )
    count, index = _number(given, "processes"), _number(given, "process")
    if count is not None and index is not None and not 0 <= index < count:
        raise InputError(f"--process {index} of --processes {count}: expected 0 to {count - 1}.")
    address = None if given["coordinator"] is None else str(given["coordinator"])
    if address is not None and not address.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator {address}: expected host:port.")
    try:
        jax.distributed.initialize(address, count, index)
    except ValueError as error:
        raise InputError(
            f"--distributed: no cluster found that says who takes part ({error}). Give "
            "--coordinator, --processes and --process."
        ) from error
    except RuntimeError as error:
        raise RunError(f"the other processes did not come: {error}") from error
    return True


def _number(given: Mapping[str, str | int | None], name: str) -> int | None:
    value = given[name]
    try:
        return None if value is None else int(value)
    except ValueError:
        raise InputError(f"--{name} {value}: expected a number.") from None


def is_writer() -> bool:
    """Whether this process writes what there is one of."""
    return jax.process_index() == 0


def any_of(*flags: bool) -> list[bool]:
    """For each flag, whether it is raised in any process. All must ask, and wait for one
    another.
    """
    if jax.process_count() == 1:
        return list(flags)
    from jax.experimental import multihost_utils

    everyones = multihost_utils.process_allgather(np.asarray(flags, np.int32))
    return [bool(flag) for flag in np.asarray(everyones).any(axis=0)]


def write(act: Callable[[], object]) -> None:
    """`act` by process 0; the others go on when it is done. Its InputError is everyone's."""
    refusal = None
    if is_writer():
        try:
            act()
        except InputError as error:
            refusal = error
    (refused,) = any_of(refusal is not None)
    if refused:
        raise refusal or InputError("process 0 refuses the run, and says why.")
