"""A Slurm cluster of one node, this machine, for the tests: `slurm-wlm` and `munge` of Debian."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
WAIT_SECONDS = 60

CONFIG = """
ClusterName=kd
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={home}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=3600
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Sockets=1 CoresPerSocket=2 RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes={host} State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why no cluster can be started; "" if one can."""
    if os.getuid():
        return "not run by root, as Slurm's daemons must be"
    path = f"{os.environ['PATH']}:/usr/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (apt install slurm-wlm munge)" if absent else ""


@contextlib.contextmanager
def running(home: Path) -> Iterator[dict[str, str]]:
    """Starts the daemons in a directory; yields the environment of Slurm's commands."""
    ports = []
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    for name in ("state", "spool", "munge"):
        (home / name).mkdir(parents=True)
    (home / "munge").chmod(0o700)
    config = home / "slurm.conf"
    config.write_text(CONFIG.format(host=socket.gethostname(), home=home, ports=ports))
    environment = os.environ | {
        "SLURM_CONF": str(config),
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    }
    path = environment["PATH"]
    secret = home / "munge"
    key = secret / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    places = {
        "key-file": key,
        "socket": home / "munge.socket",
        "seed-file": home / "munge" / "seed",
    }
    places |= {"log-file": home / "munge" / "log", "pid-file": home / "munge" / "pid"}
    options = [f"--{name}={place}" for name, place in places.items()]
    commands = [
        [shutil.which("munged", path=path), "--foreground", "--force", *options],
        [shutil.which("slurmctld", path=path), "-D", "-f", str(config)],
        [shutil.which("slurmd", path=path), "-D", "-f", str(config)],
    ]
    daemons = []
    try:
        for command in commands:
            with (home / "daemons.log").open("a") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            if len(daemons) == 1:
                until(lambda: (home / "munge.socket").exists(), "munged does not start")
        idle = lambda: "idle" in ask(environment, "sinfo", "--noheader", "--format=%T")
        until(idle, "slurmd does not start", home / "slurmctld.log")
        yield environment
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True)
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()


def ask(environment: dict[str, str], *command: str) -> str:
    """What a command answers."""
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def until(holds, what: str, log: Path | None = None, seconds: float = WAIT_SECONDS) -> None:
    """Returns once a condition holds; fails with a text and the end of a log."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: {log.read_text()[-2000:] if log else ''}")
        time.sleep(0.1)
