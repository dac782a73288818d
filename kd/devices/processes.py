"""Several processes that run one program on all their devices: joining, agreeing, writing.

Every process runs the same command and reads the same files. Only process 0 writes files of the run
directory, except for checkpoints, to which each process writes its part. A single process runs the
same code.
"""

import os
from collections.abc import Callable, Mapping

import jax
import numpy as np

from kd import signals
from kd.devices import peers
from kd.errors import InputError, RunError

VARIABLES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}
"""Environment variables that replace missing flags."""


def join(
    coordinator: str | None = None,
    processes: int | str | None = None,
    process: int | str | None = None,
    detect: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> bool:
    """Joins the other processes; to be called before anything is computed.

    Args:
      coordinator: `host:port` of process 0, the same for all.
      processes: how many there are.
      process: which of them this is, from 0.
      detect: whether the cluster (a TPU slice, SLURM, Kubernetes) is asked for missing values.
      environment: where `VARIABLES` are looked up.

    Returns:
      Whether this is one of several processes.

    Raises:
      InputError: some of the three values are missing or do not fit together.
      RunError: the other processes do not connect.
    """
    options: dict[str, int | str | None] = {
        "coordinator": coordinator,
        "processes": processes,
        "process": process,
    }
    for name, variable in VARIABLES.items():
        if options[name] is None:
            options[name] = environment.get(variable) or None
    if not detect and all(value is None for value in options.values()):
        return False
    missing = [name for name, value in options.items() if value is None]
    if missing and not detect:
        raise InputError(
            f"several processes: {', '.join(missing)} not given. Give --{' --'.join(missing)}, or "
            f"set {', '.join(VARIABLES[name] for name in missing)}; on a TPU slice or under SLURM, "
            "--distributed detects them."
        )
    count, index = _number(options, "processes"), _number(options, "process")
    if count is not None and index is not None and not 0 <= index < count:
        raise InputError(f"--process {index} of --processes {count}: expected 0 to {count - 1}.")
    address = None if options["coordinator"] is None else str(options["coordinator"])
    if address is not None and not address.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator {address}: expected host:port.")
    peers.expect_abort()
    try:
        jax.distributed.initialize(address, count, index)
    except ValueError as error:
        raise InputError(
            f"--distributed: no cluster was detected ({error}). Give --coordinator, --processes "
            "and --process."
        ) from error
    except RuntimeError as error:
        raise RunError(f"the other processes did not connect: {error}") from error
    signals.listen_again()  # jax replaces the handler of SIGTERM
    peers.start(address and address.rpartition(":")[0])
    return True


def _number(options: Mapping[str, str | int | None], name: str) -> int | None:
    value = options[name]
    try:
        return None if value is None else int(value)
    except ValueError:
        raise InputError(f"--{name} {value}: expected a number.") from None


def is_writer() -> bool:
    """Whether this process writes the files that exist once per run."""
    return jax.process_index() == 0


def is_collective(error: BaseException | None) -> bool:
    """Whether an error comes from jax's runtime, such as from an operation of several processes."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return True
        error = error.__cause__ or error.__context__
    return False


def any_of(*flags: bool) -> list[bool]:
    """For each flag, whether it is true in any process. All processes must call it; they wait for
    one another.
    """
    if jax.process_count() == 1:
        return list(flags)
    from jax.experimental import multihost_utils

    flags_of_all = multihost_utils.process_allgather(np.asarray(flags, np.int32))
    return [bool(flag) for flag in np.asarray(flags_of_all).any(axis=0)]


def write(act: Callable[[], object]) -> None:
    """Calls `act` in process 0, while the others wait. Its InputError is raised in all of them."""
    refusal = None
    if is_writer():
        try:
            act()
        except InputError as error:
            refusal = error
    (failed,) = any_of(refusal is not None)
    if failed:
        raise refusal or InputError("process 0 refuses the run; its message says why.")
