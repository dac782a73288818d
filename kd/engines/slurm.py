"""Runs as jobs of Slurm: submitted once, each after those that it needs, with plain `sbatch`.

The run is a step of its job (`srun`): Slurm sends the SIGTERM of a preemption to steps alone, the
script gets only that before the time limit. A run that saved (75), or was stopped or killed (143,
137), is queued again, unless the job is being cancelled. The log of the run has a line for each
start: `kd slurm: job 12, start 1: status 75`.
"""

import getpass
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kd.engines import AGAIN, Ended, Settings, Work, places, records
from kd.errors import InputError, RunError
from kd.runs import logs
from kd.runs.workdir import Workdir
from kd.values import counted

OPTIONS = {"gpus": "gpus", "cpus": "cpus-per-task", "memory": "mem", "time": "time"}
"""Options of sbatch for the settings that all engines know; others are passed on as they are."""

WARNING_SECONDS = 60
"""How long before its time limit a run is asked to save."""

SCRIPT = r"""#!/bin/bash
{header}
# Written by kd: one run of a table. $KD_PREFIX, an array that lines above may set, goes before it.
start=$((${{SLURM_RESTART_COUNT:-0}} + 1))
trap '[ -z "$child" ] || kill -TERM "$child"' TERM
srun --ntasks=1 --quiet "${{KD_PREFIX[@]}}" "$@" &
child=$!
while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null || break
done
state=$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T)
echo "kd slurm: job $SLURM_JOB_ID, start $start: status $status, $state" >&2
case " {again} " in
*" $status "*)
    if [ "$state" = RUNNING ] && [ "$start" -le {retries} ]; then
        scontrol requeue "$SLURM_JOB_ID" && sleep 60
    fi
    ;;
esac
exit "$status"
"""

INVALID = ("DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS")
"""Reasons for which a job waits in vain."""

LOOK_SECONDS = 5.0
"""How often a command that watches a job asks for it."""

SECONDS = 60
"""How long Slurm's commands may take."""


class Engine:
    """Submits the runs to the queue of a cluster."""

    def __init__(self, settings: Settings):
        if settings.address:
            raise InputError("--address is for --on ray; Slurm's commands know their cluster.")
        self._settings = settings
        self._header = ""
        if settings.header:
            try:
                self._header = Path(settings.header).read_text().removeprefix("#!/bin/bash\n")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"--header {settings.header} cannot be read: {error}.") from error

    def check(self, works: Sequence[Work]) -> None:
        """Raises InputError where nothing can be submitted, or no node can ever run a job."""
        if shutil.which("sbatch") is None:
            raise InputError(
                "--on slurm: sbatch is not on the PATH. Run this on a login node of the cluster, "
                "or install Slurm's commands (Debian: apt install slurm-client)."
            )
        if not self._settings.shared:
            nodes = self._nodes()
            places.refuse_hidden(self._settings.root, nodes)
            places.refuse_hidden(str(Path.cwd()), nodes, "the working directory")
        with self._script() as script:
            asked = ["sbatch", "--test-only", *self._options(works[0], []), script, "true"]
            answer = _run(asked)
        if answer.returncode:
            text = " ".join(_lines(answer.stderr)) or f"exit status {answer.returncode}"
            raise InputError(f"--on slurm: the cluster refuses such a job: {text}")

    def shown(self, works: Sequence[Work]) -> list[str]:
        """The commands that would submit the runs."""
        numbers = {work.reference: f"JOB{i}" for i, work in enumerate(works, 1)}
        lines = []
        for work in works:
            needs = [numbers[need] for need in work.needs]
            command = ["sbatch", *self._options(work, needs), "SCRIPT", *work.command]
            lines.append(f"{numbers[work.reference]}: {shlex.join(command)}")
        return lines

    def submit(self, works: Sequence[Work], tell: Callable[[str], None]) -> None:
        """Submits what is not in the queue, and says what is.

        Raises RunError where Slurm refuses a job; those before it stay in the queue.
        """
        queue, numbers, submitted = states(), {}, 0
        with self._script() as script:
            for work in works:
                record = records.read(work.workdir)
                job = str(record.get("job", ""))
                if record.get("engine") == "slurm" and is_waiting(queue.get(job, "")):
                    numbers[work.reference] = job
                    tell(f"{work.reference}: job {job}, {queue[job].lower()}")
                    continue
                if reason := ended(work.workdir, record):
                    tell(f"{work.reference}: {reason}; submitted again")
                needs = [numbers[need] for need in work.needs]
                lane = submitted % self._settings.jobs if self._settings.jobs else None
                numbers[work.reference] = self._submit(work, needs, script, lane)
                submitted += 1
        waiting = len(works) - submitted
        tell(
            f"{counted(submitted, 'job')} submitted, {waiting} in the queue before; `kd status` "
            "shows them, and this command submits what is missing"
        )

    def start(self, work: Work) -> "Task":
        """Submits one run, to be watched by the command. Raises RunError where Slurm refuses it."""
        with self._script() as script:
            return Task(work, self._submit(work, [], script, None))

    def close(self) -> None:
        """Nothing is left to close."""

    def _submit(self, work: Work, needs: list[str], script: str, lane: int | None) -> str:
        log = logs.file(work.workdir)
        log.parent.mkdir(parents=True, exist_ok=True)
        options = self._options(work, needs, lane)
        answer = _run(["sbatch", *options, script, *work.command])
        number = answer.stdout.strip().partition(";")[0]
        if answer.returncode or not number.isdecimal():
            text = " ".join(_lines(answer.stderr)) or f"it answers {answer.stdout.strip()!r}"
            raise RunError(f"sbatch refuses {work.reference}: {text}")
        records.write(work.workdir, engine="slurm", job=number, state="submitted")
        return number

    def _options(self, work: Work, needs: Sequence[str], lane: int | None = None) -> list[str]:
        log = logs.file(work.workdir)
        name = f"kd:{work.workdir.path.name}"
        options = [
            "--parsable",
            "--requeue",
            "--open-mode=append",
            f"--signal=B:TERM@{WARNING_SECONDS}",
            f"--output={_literal(log)}",
            f"--error={_literal(log)}",
            f"--comment={work.reference}",
            *(f"--{OPTIONS.get(k, k)}={v}" for k, v in self._settings.each.items()),
        ]
        after = [f"afterok:{':'.join(needs)}"] if needs else []
        if lane is not None:  # Slurm runs one job of a name at a time
            name, after = f"kd:{Path(self._settings.root).name}:{lane}", [*after, "singleton"]
        if after:
            options += [f"--dependency={','.join(after)}", "--kill-on-invalid-dep=yes"]
        return [*options, f"--job-name={name}"]

    def _script(self) -> "_Script":
        again = " ".join(map(str, AGAIN))
        header, retries = self._header.rstrip(), self._settings.retries
        return _Script(SCRIPT.format(header=header, again=again, retries=retries))

    def _nodes(self) -> list[str]:
        """Names of the hosts that may run a job; none if that is not known."""
        partition = self._settings.each.get("partition")
        only = [f"--partition={partition}"] if partition else []
        if shutil.which("sinfo") is None:
            return []
        return _lines(_run(["sinfo", "--noheader", "--Node", "--format=%n", *only]).stdout)


class Task:
    """A job that the command watches."""

    def __init__(self, work: Work, number: str):
        self._work, self._number = work, number
        self._looked = time.monotonic()

    def poll(self) -> Ended | None:
        """How the job ended; None while it is in the queue."""
        if time.monotonic() - self._looked < LOOK_SECONDS and not self._work.workdir.finished:
            return None
        self._looked = time.monotonic()
        if is_waiting(states().get(self._number, "")):
            return None
        if self._work.workdir.finished:
            return Ended(0)
        lines = starts(self._work.workdir, self._number)
        if not lines:
            return Ended(1, f"job {self._number} was cancelled before it started")
        return Ended(int(lines[-1][2]))

    def stop(self) -> None:
        """Cancels the job: its run gets SIGTERM."""
        _run(["scancel", self._number])

    def kill(self) -> None:
        """Cancels the job."""
        self.stop()


class _Script:
    """Context with the name of the file of a script, which `sbatch` copies."""

    def __init__(self, text: str):
        self._text = text

    def __enter__(self) -> str:
        self._directory = tempfile.TemporaryDirectory(prefix="kd-slurm-")
        path = Path(self._directory.name) / "kd.sh"
        path.write_text(self._text)
        return str(path)

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()


def states() -> dict[str, str]:
    """By number, the state of each of the user's jobs: `RUNNING on node7`, `PENDING: Priority`.

    Raises RunError where the queue cannot be asked, such as while the controller restarts.
    """
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%T|%r|%N"]
    answer = _run(command)
    if answer.returncode:
        raise RunError(f"squeue does not answer: {' '.join(_lines(answer.stderr))}")
    queue = {}
    for line in _lines(answer.stdout):
        number, state, reason, node = (line.split("|") + [""] * 3)[:4]
        queue[number] = f"{state} on {node}" if node else f"{state}: {reason}"
    return queue


def is_waiting(state: str) -> bool:
    """Whether a job that the queue shows so is still going to run, or runs."""
    gone = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")
    return bool(state) and not state.startswith(gone) and not state.endswith(INVALID)


def ended(workdir: Workdir, record: Mapping) -> str:
    """Why a job that left the queue did not finish its run; "" if there was none."""
    job = record.get("job")
    if record.get("engine") != "slurm" or not job:
        return ""
    lines = starts(workdir, str(job))
    if not lines:
        return f"job {job} was cancelled before it started"
    number, status, _ = lines[-1].groups()
    if int(status) in AGAIN:
        return f"job {job} was stopped at its start {number}, with status {status}"
    message = re.split(r" (?:kd slurm|srun): ", logs.error(workdir))[0]
    return f"failed with status {status}: {message or 'see its log'}"


def starts(workdir: Workdir, job: str) -> list[re.Match]:
    """The lines of a log that say how each start of a job ended: number, status, state."""
    form = re.compile(rf"kd slurm: job {re.escape(job)}, start (\d+): status (\d+), (.*)")
    return [match for line in logs.lines(workdir) if (match := form.fullmatch(line))]


def _literal(path: Path) -> str:
    """A path with Slurm's % patterns escaped."""
    return str(path.absolute()).replace("\\", "\\\\").replace("%", "%%")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a command of Slurm's answers. Raises RunError if it does not."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{command[0]} does not answer: {error}") from error
