"""Runs as tasks of a Ray cluster: on whatever node is free, on another one when a node is lost.

The command waits for them. Its end, by a kill too, ends the tasks, which save; the same command
goes on. A run is a process of its own beside the Ray worker, and ends with it.
"""

import os
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd import extras
from kd.engines import Ended, Settings, Work, each, places
from kd.errors import InputError, RunError
from kd.runs import buckets, logs

CONNECT_SECONDS, REACH_SECONDS = 60, 10
NAMES = {"cpus": "CPU", "gpus": "GPU"}
"""What Ray calls the resources that all engines know."""


class Engine:
    """Starts a task for each run."""

    def __init__(self, settings: Settings):
        if settings.header:
            raise InputError("--header is for --on slurm.")
        if "time" in settings.each:
            raise InputError("--each time=...: Ray limits no times; leave it out.")
        if extras.missing("ray"):
            raise InputError(
                f"--on ray: Ray is not installed. Install the extra 'ray': {extras.command('ray')}"
            )
        self._settings = settings
        self._needs = _resources(settings.each)
        self._ray: Any = None
        self._remote: Any = None

    def shown(self, works: Sequence[Work]) -> list[str]:
        """The resources of each run's task."""
        needs = ", ".join(f"{name} {number:zg}" for name, number in self._needs.items())
        return [
            f"{work.reference}: a task with {needs or 'the default of a CPU'}" for work in works
        ]

    def check(self, works: Sequence[Work]) -> None:
        """Connects. Raises InputError if no node has the resources, or sees the runs."""
        ray = self._connect()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if "GPU" not in self._needs:  # a task that does not ask for GPUs sees none
            self._needs["GPU"] = 1.0 if any("GPU" in node["Resources"] for node in nodes) else 0.0
        fits = [node for node in nodes if _fits(self._needs, node["Resources"])]
        if not fits:
            known = sorted({_words(node["Resources"]) for node in nodes})
            raise InputError(
                f"--each {each.text(self._settings.each)}: no node of the cluster has "
                f"{_words(self._needs)}. Nodes have: {'; '.join(known)}."
            )
        sys.modules["ray"].cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._remote = ray.remote(_compute)
        if not (buckets.is_bucket(self._settings.root) or self._settings.shared):
            self._look_from(fits)

    def start(self, work: Work) -> "Task":
        """Starts a task."""
        cpus, gpus = self._needs.get("CPU", 1.0), self._needs["GPU"]
        others = {k: v for k, v in self._needs.items() if k not in ("CPU", "GPU", "memory")}
        options = dict(num_cpus=cpus, num_gpus=gpus, max_retries=0, name=work.workdir.path.name)
        options |= {"resources": others} if others else {}
        options |= {"memory": self._needs["memory"]} if "memory" in self._needs else {}
        log = str(logs.file(work.workdir))
        # Where the cluster has this Python, kd is in it, too.
        arguments = (list(work.command), os.getcwd(), log, _environment())  # noqa: PTH109
        return Task(self._ray, self._remote.options(**options).remote(*arguments), work)

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()

    def _connect(self) -> Any:
        import ray

        address = self._settings.address or os.environ.get("RAY_ADDRESS") or "auto"
        try:
            _reach(address)
            ray.init(address, log_to_driver=False, logging_level="CRITICAL")
        except Exception as error:  # of many kinds, each with many lines
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"--on ray: no cluster answers at {address}: {first} Start one (ray start --head), "
                "or give its --address."
            ) from error
        self._ray = ray
        return ray

    def _look_from(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Raises InputError if a node does not see a file that is made in the directory of runs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if places.is_this_machine(node["NodeManagerHostname"] for node in nodes):
            return
        root = Path(self._settings.root).absolute()
        root.mkdir(parents=True, exist_ok=True)
        mark = root / f".seen-{uuid.uuid4().hex}.part"
        mark.touch()
        try:
            look = self._ray.remote(_exists)
            asked = {}
            for node in nodes:
                where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options = dict(num_cpus=0, num_gpus=0, scheduling_strategy=where)
                asked[node["NodeManagerHostname"]] = look.options(**options).remote(str(mark))
            for name, answer in asked.items():
                try:
                    sees = self._ray.get(answer, timeout=CONNECT_SECONDS)
                except Exception as error:
                    raise RunError(f"node {name} of the Ray cluster does not answer.") from error
                if not sees:
                    raise InputError(
                        f"--runs {self._settings.root}: node {name} does not see it. Give a "
                        "directory that all nodes mount, or gs://BUCKET/runs."
                    )
        finally:
            mark.unlink(missing_ok=True)


class Task:
    """A task that was started."""

    def __init__(self, ray: Any, answer: Any, work: Work):
        self._ray, self._answer, self._work = ray, answer, work

    def poll(self) -> Ended | None:
        """How the run ended; a status of None where its node or its worker was lost."""
        if not self._ray.wait([self._answer], timeout=0)[0]:
            return None
        try:
            status, node, lines = self._ray.get(self._answer)
        except self._ray.exceptions.RayTaskError as error:
            first = str(error).strip().splitlines()[-1]
            return Ended(1, f"it could not be started on its node: {first}")
        except self._ray.exceptions.RayError as error:
            return Ended(None, f"its node was lost ({type(error).__name__})")
        if buckets.is_bucket(str(self._work.workdir)):  # the log was written on its node
            path = logs.file(self._work.workdir)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
            logs.copy(self._work.workdir)
        if status < 0:
            return Ended(128 - status, f"ended by signal {-status} on {node}")
        return Ended(status)

    def stop(self) -> None:
        """Interrupts the worker, which passes it on."""
        self._ray.cancel(self._answer, force=False)

    def kill(self) -> None:
        """Ends the worker, and with it the run."""
        self._ray.cancel(self._answer, force=True)


def _reach(address: str) -> None:
    """Raises OSError if nothing answers at `HOST:PORT`, for which Ray itself waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


def _environment() -> dict[str, str]:
    """Variables of this process that its runs need on other nodes."""
    names = ("PYTHONPATH", "KD_LOCK", "KD_LEASE_SECONDS", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
    return {name: os.environ[name] for name in names if name in os.environ}


def _resources(settings: Mapping[str, str]) -> dict[str, float]:
    """Numbers of Ray's resources; names that kd does not know are the cluster's own."""
    numbers: dict[str, float] = {}
    for key, value in settings.items():
        if key == "memory":
            numbers["memory"] = each.memory(value)
            continue
        kind, _, number = value.rpartition(":")
        try:
            numbers[NAMES.get(key, key)] = float(number)
        except ValueError:
            raise InputError(f"--each {key}={value}: Ray's resources are numbers.") from None
        if kind:
            numbers[f"accelerator_type:{kind}"] = 0.001  # as Ray marks nodes
    return numbers


def _fits(needs: Mapping[str, float], resources: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0.0) >= number for name, number in needs.items())


def _words(resources: Mapping[str, float]) -> str:
    hidden = ("node:", "object_store_memory", "memory")
    shown = {k: v for k, v in resources.items() if not k.startswith(hidden)}
    return ", ".join(f"{name} {number:zg}" for name, number in sorted(shown.items())) or "none"


# What follows is sent to the nodes: it needs Python alone.


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def _compute(
    command: list[str], directory: str, log: str, environment: dict[str, str]
) -> tuple[int, str, list[str]]:
    """Computes a run on a node: the exit status, the node, the last lines of its output.

    The process gets SIGTERM where the worker ends, so that none trains beside its own retry.
    """
    import ctypes
    import signal
    import subprocess

    def end_with_worker() -> None:
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)

    if not os.path.exists(command[0]):  # noqa: PTH110  # another Python on this node
        command = [sys.executable, *command[1:]]
    if os.path.isdir(directory):  # noqa: PTH112
        os.chdir(directory)
    os.makedirs(os.path.dirname(log) or ".", exist_ok=True)  # noqa: PTH103, PTH120
    with open(log, "a") as errors:  # noqa: PTH123
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | environment,
            preexec_fn=end_with_worker,
        )
        try:
            status = process.wait()
        except BaseException:  # cancelled
            process.terminate()
            status = process.wait()
    with open(log, errors="replace") as text:  # noqa: PTH123
        lines = text.read().splitlines()[-50:]
    return status, socket.gethostname(), lines
