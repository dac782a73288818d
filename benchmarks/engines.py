"""What a cluster adds to a run, and what kd's commands take for a table of 500 runs.

For the commands, in processor seconds, a program that only prints numbers stands in for `sbatch`.
For the engines, runs do nothing but write their result; what is timed, in seconds, is from the
start of one to its end. Slurm is measured where one answers, Ray where it is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Case, Prepared, Row
from kd import engines, extras
from kd.runs.workdir import Workdir

TITLE = "tables on a cluster: processor seconds of commands, and seconds that engines add to a run"
REPEATS = 3

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    a = dict(part.split("=") for part in (arg or "").split(",") if part)
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.batch_size, c.epochs = 32, 3
    c.seed = int(a.get("seed", 0))
    c.student = dict(name="mlp.MLP", widths=(8,))
    c.optimizer = dict(name="sgd", learning_rate=float(a.get("rate", 0.1)))
    c.objective = dict(ce=dict(name="ce.CE"))
    if "teacher" in a:
        c.teacher = dict(config=f"small.py:seed={{a['teacher']}}")
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c
"""

EXPERIMENT = """
def get_experiment(arg=None):
    runs = {runs}
    teachers = [f"small.py:seed={{i}}" for i in range(max(runs // 10, 1))]
    students = [
        f"small.py:teacher={{i % len(teachers)}},rate={{0.001 * (i + 1)}}"
        for i in range(runs - len(teachers))
    ]
    rows = {{config: dict(config=config) for config in teachers + students}}
    return dict(title="Many", metric="errors", tables=[dict(title="Many", rows=rows)])
"""

SBATCH = """#!/bin/sh
for word in "$@"; do [ "$word" = --test-only ] && exit 0; done
read number < {home}/number
echo $((number + 1)) > {home}/number
echo $number
"""

SQUEUE = """#!/bin/sh
read number < {home}/number
i=1; while [ $i -lt $number ]; do echo "$i|PENDING|Priority|"; i=$((i + 1)); done
"""


def cases(toy: bool) -> Sequence[Case]:
    """The three commands of a table, and the engines that answer here."""
    runs = 20 if toy else 500
    return [
        Case(f"{runs} runs", partial(_make, runs)),
        Case("a run that does nothing", partial(_engines, toy)),
    ]


def _engines(toy: bool) -> Prepared:
    """Each engine that answers, with one run at a time; a toy is this machine alone."""
    root = Path(tempfile.mkdtemp(prefix="kd-benchmark-"))
    names = ["local"]
    if (
        not toy
        and shutil.which("sinfo")
        and not subprocess.run(["sinfo"], capture_output=True).returncode
    ):
        names.append("slurm")
    if not toy and not extras.missing("ray"):
        names.append("ray")
    parts: dict[str, Callable] = {}
    for name in names:
        address = "local" if name == "ray" else None
        engine = engines.load(name, engines.Settings(str(root), address=address, shared=True))
        engine.check([_work(root / "first")])
        parts[name] = partial(_run, engine, root, name)
    return Prepared(parts, {"engines": names}, warmup=1, repeats=10)


def _work(path: Path) -> engines.Work:
    """A run that only writes its result."""
    code = f"import os; os.makedirs({str(path)!r}); open({str(path / 'result.json')!r}, 'w')"
    return engines.Work(path.name, Workdir(path), (), (sys.executable, "-S", "-c", code))


def _run(engine: Any, root: Path, name: str) -> float:
    """Seconds from the start of a run to its result."""
    work = _work(root / f"{name}{time.monotonic_ns()}")
    start = time.perf_counter()
    task = engine.start(work)
    while not work.workdir.finished:
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    while task.poll() is None:
        time.sleep(0.05)
    return seconds


def _make(runs: int) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="kd-benchmark-"))
    image = np.random.default_rng(0).integers(0, 256, (64, 8, 8), np.uint8)
    label = np.arange(64, dtype=np.int32) % 10
    np.savez(home / "data.npz", x_train=image, y_train=label, x_test=image, y_test=label)
    (home / "small.py").write_text(CONFIG.format(data=home / "data.npz"))
    (home / "many.py").write_text(EXPERIMENT.format(runs=runs))
    (home / "number").write_text("1\n")
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("sinfo", "#!/bin/sh\n")):
        path = home / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(home=home))
        path.chmod(0o755)
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    root = Path(__file__).parents[1]
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root)}
    kd = partial(_command, home, environment)
    parts: dict[str, Callable] = {
        "plan": partial(kd, "table", "many.py", "--dry_run"),
        "submit": partial(kd, "table", "many.py", "--on", "slurm"),
        "show": partial(kd, "status", "many.py"),
    }
    return Prepared(parts, {"runs": runs}, warmup=0)


def _command(home: Path, environment: Mapping[str, str], *arguments: str) -> float:
    """Processor seconds of a command and of the programs that it starts."""
    if arguments[-1] == "slurm":  # all are submitted anew
        (home / "number").write_text("1\n")
        subprocess.run(["rm", "-rf", home / "runs"], check=True)
    before = os.times()
    command = [sys.executable, "-m", "kd", *arguments]
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Median, smallest and largest of the rounds."""
    lines = [["", "", "seconds"]]
    for row in rows:
        for part, seconds in row["seconds"].items():
            low, middle, high = min(seconds), float(np.median(seconds)), max(seconds)
            lines.append([row["case"], part, f"{middle:z.2f} [{low:z.2f}, {high:z.2f}]"])
    return lines
